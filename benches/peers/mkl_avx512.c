/* MKL asks this function whether it runs on an Intel processor, and takes its AVX2 path when it does
   not. Preloaded, the stub lets an AMD processor with AVX-512 take the AVX-512 path. */
int mkl_serv_intel_cpu_true(void) { return 1; }
