//! How much of the machine was used: CPU seconds and memory.

/// CPU seconds of this process so far, all threads together.
#[must_use]
pub fn cpu_seconds() -> f64 {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// CPU seconds of the calling thread so far: what a run costs that has a thread to itself.
#[must_use]
pub fn thread_cpu_seconds() -> f64 {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock(id: libc::clockid_t) -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that outlives the call, which writes nothing else.
    let status = unsafe { libc::clock_gettime(id, &raw mut time) };
    assert_eq!(status, 0, "POSIX systems have the two CPU clocks, and the pointer is valid");
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// The most memory that this process has had resident so far, in bytes; `None` where the system does
/// not say (it is read from `/proc/self/status`, since `getrusage` also counts the parent's peak).
#[must_use]
pub fn peak_rss_bytes() -> Option<u64> {
    vm_hwm(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// The line `VmHWM:   12345 kB` in bytes.
fn vm_hwm(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use std::{hint::black_box, time::Duration};

    use super::*;

    fn work() -> u64 {
        (0..30_000_000_u64).fold(0, |sum, i| black_box(sum ^ i))
    }

    #[test]
    fn work_takes_cpu_time_and_sleep_does_not() {
        let start = thread_cpu_seconds();
        std::thread::sleep(Duration::from_millis(50));
        let slept = thread_cpu_seconds() - start;
        black_box(work());
        let worked = thread_cpu_seconds() - start - slept;
        assert!(slept < 0.02, "sleeping took {slept} CPU seconds");
        assert!(worked > 1e-3, "30 million steps took {worked} CPU seconds");
    }

    #[test]
    fn the_process_clock_counts_other_threads() {
        let (process, thread) = (cpu_seconds(), thread_cpu_seconds());
        let others = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let start = thread_cpu_seconds();
                    black_box(work());
                    thread_cpu_seconds() - start
                })
                .join()
                .expect("the thread does not panic")
        });
        assert!(cpu_seconds() - process >= others);
        assert!(thread_cpu_seconds() - thread < others / 2.0);
    }

    #[test]
    fn peak_memory_is_read_in_bytes() {
        assert_eq!(vm_hwm("VmPeak:\t  9 kB\nVmHWM:\t   538044 kB\nVmRSS:\t 1 kB\n"), Some(538_044 * 1024));
        assert_eq!(vm_hwm("VmRSS:\t 1 kB\n"), None);
        if cfg!(target_os = "linux") {
            let before = peak_rss_bytes().expect("Linux has /proc/self/status");
            black_box(vec![1_u8; before as usize + (64 << 20)]);
            assert!(peak_rss_bytes().expect("as before") >= before + (32 << 20));
        }
    }
}
