//! Accesses: of every width, atomic ones, asynchronous copies; and those that are found wrong.

use super::Launch;
use cuda_emulator::{Checks, Emulator, Kind, Order, Shape};

#[test]
fn loads_and_stores_of_every_width() {
    let body = "
    ld.global.s8 %r1, [%rd1+3];
    ld.global.u8 %r2, [%rd1+3];
    ld.global.s16 %r3, [%rd1+2];
    ld.global.v2.u32 {%r4, _}, [%rd1+8];
    ld.global.nc.v4.u32 {%r5, %r6, %r7, %r8}, [%rd1+16];
    st.global.v4.u32 [%rd0], {%r1, %r2, %r3, %r4};
    st.global.v2.u32 [%rd0+16], {%r5, %r8};
    st.global.u8 [%rd0+24], %r6;
    st.global.u16 [%rd0+26], %r7;";
    let found = Launch::new(body, 1).run(7, &[0x8070_6050, 0, 3, 4, 5, 0x1206, 0x1234_5607, 8]).unwrap();
    assert_eq!(found, [0xffff_ff80, 0x80, 0xffff_8070, 3, 5, 8, 0x5607_0006]);
}

#[test]
fn generic_addresses_and_local_memory() {
    let body = "
    .local .align 8 .b8 mine[16];
    .shared .align 4 .b8 ours[128];
    mov.u64 %rd5, mine;
    cvta.local.u64 %rd6, %rd5;
    st.u32 [%rd6+4], %r0;
    ld.local.u32 %r1, [mine+4];
    mov.u64 %rd7, ours;
    cvta.shared.u64 %rd8, %rd7;
    mul.wide.u32 %rd9, %r0, 4;
    add.u64 %rd8, %rd8, %rd9;
    st.u32 [%rd8], %r1;
    isspacep.shared %p1, %rd8;
    selp.u32 %r3, 1000, 0, %p1;
    cvta.to.shared.u64 %rd10, %rd8;
    ld.shared.u32 %r2, [%rd10];
    add.u32 %r2, %r2, %r3;
    st.u32 [%rd2], %r2;";
    let found = Launch::new(body, 32).run(32, &[0]).unwrap();
    assert_eq!(found, (1000..1032).collect::<Vec<u32>>());
}

#[test]
fn atomics_return_what_was_there() {
    let body = "
    atom.global.add.u32 %r1, [%rd0], 1;
    red.global.max.s32 [%rd0+4], %r0;
    atom.global.cas.b32 %r2, [%rd0+8], 0, 77;
    atom.global.inc.u32 %r3, [%rd0+12], 9;
    red.global.add.f32 [%rd0+16], 0f3F000000;
    red.global.add.noftz.f16x2 [%rd0+20], 0x3c004000;
    red.global.or.b32 [%rd0+24], %r0;
    add.u64 %rd3, %rd2, 32;
    st.global.u32 [%rd3], %r1;";
    let found = Launch::new(body, 32).run(40, &[0]).unwrap();
    let sum_of_f16 = (0x5000 << 16) | 0x5400; // 32 and 64
    assert_eq!(found[..7], [32, 31, 77, 2, 0x4180_0000, sum_of_f16, 31]);
    let mut tickets = found[8..].to_vec();
    tickets.sort_unstable();
    assert_eq!(tickets, (0..32).collect::<Vec<u32>>());
}

#[test]
fn blocks_share_global_memory_and_not_shared_memory() {
    // Each block counts in shared memory, which begins as garbage, and adds to a global count.
    let body = "
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, dynamic;
    ld.shared.u32 %r3, [%r2];
    add.u32 %r3, %r3, 2;
    st.shared.u32 [%r2], %r1;
    red.global.add.u32 [%rd0], %r3;";
    for order in [Order::Forward, Order::Reverse, Order::Shuffled(7)] {
        let launch = Launch { grid: [5, 1, 1], order, ..Launch::new(body, 1).shared(4) };
        assert_eq!(launch.run(1, &[0]).unwrap(), [5]);
    }
}

#[test]
fn the_order_of_blocks_can_be_changed() {
    let body = "
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r4, %ctaid.y;
    mad.lo.u32 %r1, %r4, 3, %r1;
    atom.global.add.u32 %r2, [%rd0], 1;
    mul.wide.u32 %rd4, %r2, 4;
    add.u64 %rd4, %rd0, %rd4;
    st.global.u32 [%rd4+4], %r1;";
    let run = |order| {
        let launch = Launch { grid: [3, 3, 1], order, ..Launch::new(body, 1) };
        launch.run(10, &[0]).unwrap()[1..].to_vec()
    };
    assert_eq!(run(Order::Forward), (0..9).collect::<Vec<u32>>());
    assert_eq!(run(Order::Reverse), (0..9).rev().collect::<Vec<u32>>());
    let mut shuffled = run(Order::Shuffled(1));
    assert_ne!(shuffled, run(Order::Forward));
    assert_ne!(shuffled, run(Order::Shuffled(2)));
    shuffled.sort_unstable();
    assert_eq!(shuffled, run(Order::Forward));
}

#[test]
fn out_of_bounds_is_found() {
    Launch::new("ld.global.u32 %r1, [%rd2+4000];", 32).fails(
        Kind::IllegalAddress,
        &[
            "kernel k",
            "thread (24, 0, 0)",
            "ld.global.u32 %r1, [%rd2+4000]",
            "4096 bytes into an allocation of 4096",
        ],
    );
    Launch::new("st.global.u32 [%rd0+-4], %r0;", 1).fails(Kind::IllegalAddress, &["writes 4 bytes"]);
    Launch::new("st.shared.u32 [%r0+60], %r0;", 1).shared(60).fails(Kind::IllegalAddress, &["60 bytes"]);
    Launch::new("mov.u64 %rd5, 0; ld.global.u32 %r1, [%rd5];", 1)
        .fails(Kind::IllegalAddress, &["nothing is allocated"]);
    Launch::new(".local .b8 mine[8]; ld.local.u32 %r1, [mine+8];", 1)
        .fails(Kind::IllegalAddress, &["local memory"]);
    Launch::new("atom.global.add.u32 %r1, [%rd0+4096], 1;", 1).fails(Kind::IllegalAddress, &["changes"]);
}

#[test]
fn a_misaligned_access_is_found() {
    Launch::new("ld.global.u32 %r1, [%rd0+2];", 1).fails(Kind::MisalignedAddress, &["no multiple of 4"]);
    let vector = "ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd0+4];";
    Launch::new(vector, 1).fails(Kind::MisalignedAddress, &["no multiple of 16"]);
    Launch::new("st.shared.u64 [%r0+4], %rd0;", 1)
        .shared(64)
        .fails(Kind::MisalignedAddress, &["no multiple of 8"]);
}

#[test]
fn what_was_never_written_and_what_was_freed() {
    let text = ".version 9.0
.target sm_90
.address_size 64
.visible .entry k(.param .u64 pointer)
{
    .reg .b32 %r<4>;
    .reg .b64 %rd<4>;
    ld.param.u64 %rd0, [pointer];
    ld.global.u32 %r1, [%rd0+4];
    ret;
}";
    let checks = Checks { shared: true, init: true };
    let mut emulator = Emulator::new(Order::Forward, checks);
    let module = emulator.load(text).unwrap();
    let kernel = emulator.kernel(module, "k").unwrap();
    let memory = emulator.allocate(8).unwrap();
    emulator.write(memory, 7).unwrap().fill(0);
    let shape = Shape { grid: [1; 3], block: [1; 3], dynamic: 0 };
    let fault = emulator.launch(kernel, shape, &memory.to_le_bytes()).unwrap_err();
    assert!(fault.text.contains("byte 7 of this allocation of 8 bytes was never written"), "{fault}");
    emulator.write(memory, 8).unwrap().fill(0);
    emulator.launch(kernel, shape, &memory.to_le_bytes()).unwrap();
    emulator.free(memory).unwrap();
    let fault = emulator.launch(kernel, shape, &memory.to_le_bytes()).unwrap_err();
    assert!(fault.text.contains("that was freed"), "{fault}");
    assert_eq!(fault.kind, Kind::IllegalAddress);
    assert!(emulator.free(memory).unwrap_err().text.contains("freed twice"));
    assert!(emulator.read(memory, 1).is_err());
}

#[test]
fn races_for_shared_memory_are_found() {
    // The barrier of a sum over the block is missing.
    let read_of_another = "
    shl.b32 %r1, %r0, 2;
    st.shared.u32 [%r1], %r0;
    xor.b32 %r2, %r1, 128;
    ld.shared.u32 %r3, [%r2];";
    Launch::new(read_of_another, 64)
        .shared(256)
        .fails(Kind::IllegalAddress, &["a race", "writes byte 128", "thread 0 of the block read"]);
    // Of one warp too, without a barrier of the warp.
    let within = read_of_another.replace("128", "4");
    Launch::new(&within, 32).shared(128).fails(Kind::IllegalAddress, &["a race"]);
    let met = within.replace("xor.b32", "bar.warp.sync -1; xor.b32");
    Launch::new(&met, 32).shared(128).run(1, &[0]).unwrap();
    let shuffled = within.replace("xor.b32", "shfl.sync.bfly.b32 %r5, %r1, 1, 31, -1; xor.b32");
    Launch::new(&shuffled, 32).shared(128).run(1, &[0]).unwrap();
    // What is read must not be written before all have read it.
    let written_too_early = "
    shl.b32 %r1, %r0, 2;
    st.shared.u32 [%r1], %r0;
    bar.sync 0;
    xor.b32 %r2, %r1, 128;
    ld.shared.u32 %r3, [%r2];
    st.shared.u32 [%r1], 5;";
    Launch::new(written_too_early, 64).shared(256).fails(Kind::IllegalAddress, &["a race"]);
    let fine = written_too_early.replace("    st.shared.u32 [%r1], 5", "bar.sync 0; st.shared.u32 [%r1], 5");
    Launch::new(&fine, 64).shared(256).run(1, &[0]).unwrap();
    // Two write other things to one place.
    Launch::new("st.shared.u32 [0], %r0;", 2)
        .shared(4)
        .fails(Kind::IllegalAddress, &["a race", "writes", "wrote"]);
    // The same thing, neighbouring bytes, or atomic: none.
    Launch::new("st.shared.u32 [0], 7;", 64).shared(4).run(1, &[0]).unwrap();
    Launch::new("st.shared.u8 [%r0], %r0;", 64).shared(64).run(1, &[0]).unwrap();
    let counts = "setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [0], 0; bar.sync 0; red.shared.add.u32 [0], 1; bar.sync 0;
    ld.shared.u32 %r1, [0]; st.global.u32 [%rd2], %r1;";
    assert_eq!(Launch::new(counts, 64).shared(4).run(64, &[0]).unwrap(), [64; 64]);
    Launch::new(&counts.replacen("bar.sync 0;", "", 1), 64)
        .shared(4)
        .fails(Kind::IllegalAddress, &["a race"]);
    // Asked not to look, nothing is said.
    let unchecked = Launch {
        checks: Checks { shared: false, init: true },
        ..Launch::new(read_of_another, 64).shared(256)
    };
    unchecked.run(1, &[0]).unwrap();
}

/// Each thread copies its word of `in`, waits, meets the others, and reads its neighbour's.
const COPY: &str = "
    shl.b32 %r1, %r0, 2;
    cp.async.ca.shared.global [%r1], [%rd3], 4;
    cp.async.commit_group;
    cp.async.wait_group 0;
    bar.sync 0;
    xor.b32 %r2, %r1, 4;
    ld.shared.u32 %r3, [%r2];
    st.global.u32 [%rd2], %r3;";

#[test]
fn asynchronous_copies() {
    let input: Vec<u32> = (0..64).map(|i| i * 3).collect();
    let found = Launch::new(COPY, 64).shared(256).run(64, &input).unwrap();
    assert_eq!(found, (0..64).map(|i| (i ^ 1) * 3).collect::<Vec<u32>>());
    // What is not read is zero.
    let part = "
    cp.async.cg.shared.global.L2::128B [0], [%rd1], 16, 8;
    cp.async.wait_all;
    ld.shared.v4.u32 {%r1, %r2, %r3, %r4}, [0];
    st.global.v4.u32 [%rd0], {%r1, %r2, %r3, %r4};";
    assert_eq!(Launch::new(part, 1).shared(16).run(4, &[1, 2, 3, 4]).unwrap(), [1, 2, 0, 0]);
    // Nothing is read at all, so the address does not matter.
    let none = part.replace("[%rd1], 16, 8", "[%rd5], 16, 0").replacen("cp", "mov.u64 %rd5, 0; cp", 1);
    assert_eq!(Launch::new(&none, 1).shared(16).run(4, &[1, 2, 3, 4]).unwrap(), [0; 4]);
}

#[test]
fn a_copy_that_nobody_waits_for_is_found() {
    let missing = "cp.async.wait_group is missing";
    let no_wait = COPY.replace("cp.async.wait_group 0;", "");
    Launch::new(&no_wait, 64).shared(256).fails(Kind::IllegalAddress, &[missing]);
    // One group may still be under way.
    let too_few = COPY.replace("wait_group 0", "wait_group 1");
    Launch::new(&too_few, 64).shared(256).fails(Kind::IllegalAddress, &[missing]);
    // Not in any group that is waited for.
    let no_commit = COPY.replace("cp.async.commit_group;", "");
    Launch::new(&no_commit, 64).shared(256).fails(Kind::IllegalAddress, &[missing]);
    // Each waits for its own copies only.
    let no_barrier = COPY.replace("bar.sync 0;", "");
    Launch::new(&no_barrier, 64).shared(256).fails(Kind::IllegalAddress, &["a race"]);
    // Without the check there is garbage.
    let checks = Checks { shared: false, init: true };
    let launch = Launch { checks, ..Launch::new(&no_wait, 64).shared(256) };
    assert_eq!(launch.run(64, &[0; 64]).unwrap(), [u32::MAX; 64]);
}

#[test]
fn two_stages_of_copies() {
    // The first group is waited for while the second is under way.
    let body = "
    shl.b32 %r1, %r0, 2;
    cp.async.ca.shared.global [%r1], [%rd3], 4;
    cp.async.commit_group;
    cp.async.ca.shared.global [%r1+128], [%rd3+128], 4;
    cp.async.commit_group;
    cp.async.wait_group 1;
    bar.sync 0;
    xor.b32 %r2, %r1, 4;
    ld.shared.u32 %r3, [%r2];
    cp.async.wait_group 0;
    bar.sync 0;
    ld.shared.u32 %r4, [%r2+128];
    mad.lo.u32 %r3, %r4, 1000, %r3;
    st.global.u32 [%rd2], %r3;";
    let input: Vec<u32> = (0..64).collect();
    let found = Launch::new(body, 32).shared(256).run(32, &input).unwrap();
    assert_eq!(found, (0..32).map(|i| ((i ^ 1) + 32) * 1000 + (i ^ 1)).collect::<Vec<u32>>());
}
