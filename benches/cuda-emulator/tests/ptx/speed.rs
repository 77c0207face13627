//! How many instructions a second, times threads.

use std::time::Instant;

use super::HEAD;
use cuda_emulator::{Checks, Emulator, Order, Shape};

/// Printed, not checked: `cargo test -p cuda-emulator --test ptx -- --ignored --nocapture speed`.
#[test]
#[ignore = "a measurement"]
fn speed() {
    // y ← 0.5 y + x, again and again.
    let body = "
    ld.global.f32 %f1, [%rd3];
    mov.f32 %f2, 0f3F000000;
    mov.u32 %r1, 0;
    mov.f32 %f3, 0f00000000;
$L_again:
    fma.rn.f32 %f3, %f3, %f2, %f1;
    add.s32 %r1, %r1, 1;
    xor.b32 %r2, %r1, %r0;
    mul.wide.u32 %rd4, %r2, 4;
    add.f32 %f3, %f3, %f1;
    setp.lt.s32 %p1, %r1, 1000;
    @%p1 bra $L_again;
    st.global.f32 [%rd2], %f3;";
    let streaming = "
    mov.u32 %r1, 0;
$L_again:
    ld.global.f32 %f1, [%rd3];
    ld.global.f32 %f2, [%rd2];
    add.f32 %f1, %f1, %f2;
    st.global.f32 [%rd2], %f1;
    add.s32 %r1, %r1, 1;
    setp.lt.s32 %p1, %r1, 1000;
    @%p1 bra $L_again;";
    let shared = "
    mul.lo.u32 %r3, %r0, 4;
    mov.u32 %r1, 0;
    mov.u32 %r4, dynamic;
    add.u32 %r4, %r4, %r3;
$L_again:
    st.shared.f32 [%r4], %f1;
    ld.shared.f32 %f1, [%r4];
    add.s32 %r1, %r1, 1;
    setp.lt.s32 %p1, %r1, 1000;
    @%p1 bra $L_again;";
    for (name, body) in [("arithmetic", body), ("loads and stores", streaming), ("shared memory", shared)] {
        let mut emulator = Emulator::new(Order::Forward, Checks::default());
        let module = emulator.load(&format!("{HEAD}{body}\n    ret;\n}}\n")).unwrap();
        let kernel = emulator.kernel(module, "k").unwrap();
        let memory = emulator.allocate(8192).unwrap();
        let arguments: Vec<u8> =
            [memory, memory + 4096].iter().flat_map(|pointer| pointer.to_le_bytes()).collect();
        let shape = Shape { grid: [20, 1, 1], block: [256, 1, 1], dynamic: 1024 };
        let start = Instant::now();
        emulator.launch(kernel, shape, &arguments).unwrap();
        let rate = emulator.executed as f64 / start.elapsed().as_secs_f64() / 1e6;
        println!("{name}: {rate:.0} million a second");
    }
}
