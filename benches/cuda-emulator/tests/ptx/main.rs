//! PTX written by hand, run on the emulator: what instructions give, and what is found wrong in a kernel. Needs no CUDA.
#![allow(clippy::unwrap_used)]

mod arithmetic;
mod launches;
mod matrices;
mod memory;
mod threads;

use cuda_emulator::{Checks, Emulator, Fault, Kind, Order, Shape};

/// What a kernel of these tests declares: its arguments `out` and `in` in %rd0 and %rd1, its thread in %r0; %rd2 and %rd3 are
/// where the thread's words of 4 bytes of `out` and `in` lie.
const HEAD: &str = ".version 9.0
.target sm_90
.address_size 64
.extern .shared .align 16 .b8 dynamic[];
.visible .entry k(.param .u64 k_out, .param .u64 k_in)
{
    .reg .pred %p<16>;
    .reg .b16 %h<32>;
    .reg .b32 %r<96>;
    .reg .f32 %f<64>;
    .reg .b64 %rd<64>;
    .reg .f64 %fd<32>;
    ld.param.u64 %rd0, [k_out];
    ld.param.u64 %rd1, [k_in];
    mov.u32 %r0, %tid.x;
    mul.wide.u32 %rd2, %r0, 4;
    add.u64 %rd3, %rd1, %rd2;
    add.u64 %rd2, %rd0, %rd2;
";

/// A launch of one kernel.
struct Launch {
    body: String,
    grid: [u32; 3],
    threads: u32,
    dynamic: usize,
    order: Order,
    checks: Checks,
}

impl Launch {
    fn new(body: &str, threads: u32) -> Self {
        let checks = Checks { shared: true, init: true };
        Self { body: body.into(), grid: [1; 3], threads, dynamic: 0, order: Order::Forward, checks }
    }

    fn shared(mut self, bytes: usize) -> Self {
        self.dynamic = bytes;
        self
    }

    /// Words that it writes to `out`, from words of `in`.
    fn run(&self, words: usize, input: &[u32]) -> Result<Vec<u32>, Fault> {
        let mut emulator = Emulator::new(self.order, self.checks);
        let module = emulator.load(&format!("{HEAD}{}\n    ret;\n}}\n", self.body))?;
        let kernel = emulator.kernel(module, "k")?;
        if self.dynamic > 48 << 10 {
            emulator.allow_dynamic(kernel, self.dynamic)?;
        }
        let out = emulator.allocate(words * 4)?;
        emulator.write(out, words * 4)?.fill(0);
        let from = emulator.allocate(input.len() * 4)?;
        let bytes: Vec<u8> = input.iter().flat_map(|word| word.to_le_bytes()).collect();
        emulator.write(from, bytes.len())?.copy_from_slice(&bytes);
        let arguments: Vec<u8> = [out, from].iter().flat_map(|pointer| pointer.to_le_bytes()).collect();
        let shape = Shape { grid: self.grid, block: [self.threads, 1, 1], dynamic: self.dynamic };
        emulator.launch(kernel, shape, &arguments)?;
        let found = emulator.read(out, words * 4)?;
        Ok(found.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect())
    }

    /// Fails, with a text that holds all of these.
    #[track_caller]
    fn fails(&self, kind: Kind, says: &[&str]) {
        let fault = self.run(1024, &[0; 1024]).expect_err("this kernel is wrong");
        for part in says {
            assert!(fault.text.contains(part), "`{part}` is not said: {}", fault.text);
        }
        assert_eq!(fault.kind, kind, "{}", fault.text);
    }
}
