//! Threads that go apart and meet again, barriers, shuffles, votes.

use super::Launch;
use cuda_emulator::{Kind, Order};

#[test]
fn threads_that_go_apart_meet_again() {
    // Each thread counts to its number modulo 5, odd ones by twos more; then all vote how many are there.
    let body = "
    and.b32 %r1, %r0, 1;
    rem.u32 %r2, %r0, 5;
    mov.u32 %r3, 0;
    setp.eq.u32 %p1, %r1, 0;
    @%p1 bra $L_even;
    add.u32 %r3, %r3, 100;
$L_even:
    setp.eq.u32 %p2, %r2, 0;
    @%p2 bra $L_done;
$L_again:
    add.u32 %r3, %r3, 1;
    sub.u32 %r2, %r2, 1;
    setp.ne.u32 %p3, %r2, 0;
    @%p3 bra $L_again;
$L_done:
    activemask.b32 %r4;
    popc.b32 %r4, %r4;
    mad.lo.u32 %r3, %r4, 1000, %r3;
    st.global.u32 [%rd2], %r3;";
    let found = Launch::new(body, 48).run(48, &[0]).unwrap();
    for (thread, found) in found.into_iter().enumerate() {
        let together = if thread < 32 { 32 } else { 16 };
        assert_eq!(found as usize, together * 1000 + thread % 2 * 100 + thread % 5, "thread {thread}");
    }
}

#[test]
fn a_table_of_jumps_and_an_early_end() {
    let body = "
    setp.gt.u32 %p1, %r0, 20;
    @%p1 exit;
    rem.u32 %r1, %r0, 3;
$L_table: .branchtargets $L_zero, $L_one, $L_two;
    brx.idx %r1, $L_table;
$L_zero:
    mov.u32 %r2, 10;
    bra $L_end;
$L_one:
    mov.u32 %r2, 11;
    bra $L_end;
$L_two:
    mov.u32 %r2, 12;
$L_end:
    st.global.u32 [%rd2], %r2;";
    let found = Launch::new(body, 32).run(32, &[0]).unwrap();
    let expected: Vec<u32> = (0..32).map(|thread| if thread > 20 { 0 } else { 10 + thread % 3 }).collect();
    assert_eq!(found, expected);
}

#[test]
fn shuffles() {
    // Up and down by 3 within eights, butterfly by 5, from lane 9, each with its predicate.
    let body = "
    add.u32 %r1, %r0, 100;
    shfl.sync.up.b32 %r2|%p1, %r1, 3, 0x1800, -1;
    shfl.sync.down.b32 %r3|%p2, %r1, 3, 0x181f, -1;
    shfl.sync.bfly.b32 %r4|%p3, %r1, 5, 31, -1;
    shfl.sync.idx.b32 %r5|%p4, %r1, 9, 31, -1;
    selp.u32 %r6, 1, 0, %p1;
    selp.u32 %r7, 1, 0, %p2;
    mul.lo.u32 %r8, %r0, 20;
    cvt.u64.u32 %rd4, %r8;
    add.u64 %rd4, %rd0, %rd4;
    st.global.u32 [%rd4], %r2;
    st.global.u32 [%rd4+4], %r3;
    st.global.u32 [%rd4+8], %r4;
    st.global.u32 [%rd4+12], %r5;
    shl.b32 %r7, %r7, 1;
    or.b32 %r6, %r6, %r7;
    st.global.u32 [%rd4+16], %r6;";
    let found = Launch::new(body, 32).run(160, &[0]).unwrap();
    for (lane, found) in found.chunks(5).enumerate() {
        let (up, down) = (lane % 8 >= 3, lane % 8 + 3 < 8);
        let expected = [
            if up { lane - 3 } else { lane } + 100,
            if down { lane + 3 } else { lane } + 100,
            (lane ^ 5) + 100,
            109,
            usize::from(up) + 2 * usize::from(down),
        ];
        assert_eq!(found, expected.map(|value| value as u32), "lane {lane}");
    }
}

#[test]
fn a_shuffle_waits_for_its_members() {
    // The upper half comes by a longer way; then each half shuffles for itself.
    let body = "
    setp.lt.u32 %p1, %r0, 16;
    mov.u32 %r1, %r0;
    @%p1 bra $L_meet;
    add.u32 %r1, %r1, 1000;
$L_meet:
    shfl.sync.bfly.b32 %r2, %r1, 16, 31, -1;
    selp.b32 %r3, 0x0000ffff, 0xffff0000, %p1;
    @%p1 bra $L_low;
    shfl.sync.bfly.b32 %r4, %r2, 1, 31, %r3;
    bra $L_end;
$L_low:
    shfl.sync.bfly.b32 %r4, %r2, 2, 31, %r3;
$L_end:
    st.global.u32 [%rd2], %r4;";
    let found = Launch::new(body, 32).run(32, &[0]).unwrap();
    for (lane, found) in found.into_iter().enumerate() {
        let expected = if lane < 16 { (lane ^ 2) + 16 + 1000 } else { (lane ^ 1) - 16 };
        assert_eq!(found as usize, expected, "lane {lane}");
    }
}

#[test]
fn members_that_never_come_are_found() {
    let body = "
    setp.lt.u32 %p1, %r0, 16;
    @%p1 bra $L_low;
    bar.warp.sync -1;
    bra $L_end;
$L_low:
    bar.sync 0;
$L_end:";
    Launch::new(body, 32).fails(Kind::LaunchFailed, &["wait for others"]);
    let body = "
    and.b32 %r1, %r0, 30;
    shfl.sync.idx.b32 %r2, %r1, 0, 31, 1;";
    Launch::new(body, 32).fails(Kind::LaunchFailed, &["not among the members"]);
}

#[test]
fn votes_and_matches() {
    let body = "
    and.b32 %r1, %r0, 3;
    setp.eq.u32 %p1, %r1, 2;
    vote.sync.ballot.b32 %r2, %p1, -1;
    vote.sync.any.pred %p2, %p1, -1;
    vote.sync.all.pred %p3, %p1, -1;
    match.any.sync.b32 %r3, %r1, -1;
    redux.sync.add.s32 %r4, %r0, -1;
    redux.sync.max.u32 %r5, %r0, -1;
    selp.u32 %r6, 1, 0, %p2;
    selp.u32 %r7, 2, 0, %p3;
    or.b32 %r6, %r6, %r7;
    xor.b32 %r2, %r2, %r3;
    add.u32 %r4, %r4, %r5;
    mad.lo.u32 %r4, %r6, 1000, %r4;
    xor.b32 %r4, %r4, %r2;
    st.global.u32 [%rd2], %r4;";
    let found = Launch::new(body, 32).run(32, &[0]).unwrap();
    for (lane, found) in found.into_iter().enumerate() {
        assert_eq!(found, (0x4444_4444 ^ (0x1111_1111 << (lane % 4))) ^ (1000 + 496 + 31), "lane {lane}");
    }
}

/// Each thread writes its number, and after a barrier reads that of the thread opposite.
const REVERSE: &str = "
    mov.u32 %r1, dynamic;
    shl.b32 %r2, %r0, 2;
    add.u32 %r3, %r1, %r2;
    st.shared.u32 [%r3], %r0;
    bar.sync 0;
    mov.u32 %r4, %ntid.x;
    sub.u32 %r5, %r4, %r0;
    shl.b32 %r5, %r5, 2;
    add.u32 %r5, %r1, %r5;
    ld.shared.u32 %r6, [%r5+-4];
    st.global.u32 [%rd2], %r6;";

#[test]
fn a_barrier_for_all_warps() {
    for order in [Order::Forward, Order::Reverse, Order::Shuffled(3)] {
        let launch = Launch { order, ..Launch::new(REVERSE, 100).shared(400) };
        let found = launch.run(100, &[0]).unwrap();
        assert_eq!(found, (0..100).rev().collect::<Vec<u32>>());
    }
}

#[test]
fn a_barrier_that_reduces() {
    let body = "
    setp.lt.u32 %p1, %r0, 37;
    barrier.cta.red.popc.u32 %r1, 0, %p1;
    barrier.cta.red.or.pred %p2, 0, %p1;
    bar.red.and.pred %p3, 0, %p1;
    selp.u32 %r2, 1000, 0, %p2;
    selp.u32 %r3, 2000, 0, %p3;
    add.u32 %r1, %r1, %r2;
    add.u32 %r1, %r1, %r3;
    st.global.u32 [%rd2], %r1;";
    assert_eq!(Launch::new(body, 64).run(64, &[0]).unwrap(), [1037; 64]);
}

#[test]
fn a_barrier_that_not_all_reach_is_found() {
    let body = "
    setp.gt.u32 %p1, %r0, 40;
    @%p1 exit;
    bar.sync 0;";
    Launch::new(body, 64)
        .fails(Kind::LaunchFailed, &["never passed", "23 are done", "41 at barrier 0", "bar.sync 0"]);
    let body = "
    setp.gt.u32 %p1, %r0, 10;
    @%p1 bra $L_other;
    bar.sync 0;
    bra $L_end;
$L_other:
    bar.sync 0;
$L_end:";
    Launch::new(body, 32).fails(Kind::LaunchFailed, &["different barriers"]);
    Launch::new("setp.lt.u32 %p1, %r0, 5; @%p1 bar.sync 1; @!%p1 bar.sync 2;", 64)
        .fails(Kind::LaunchFailed, &["different barriers"]);
    Launch::new("trap;", 1).fails(Kind::LaunchFailed, &["trap", "kernel k", "thread (0, 0, 0)"]);
}

#[test]
fn named_barriers_of_some_warps() {
    // Two warps meet at barrier 1, two at barrier 2.
    let body = "
    shr.u32 %r1, %r0, 6;
    add.u32 %r1, %r1, 1;
    mov.u32 %r2, dynamic;
    shl.b32 %r3, %r0, 2;
    add.u32 %r3, %r3, %r2;
    st.shared.u32 [%r3], %r0;
    bar.sync %r1, 64;
    xor.b32 %r4, %r0, 63;
    shl.b32 %r4, %r4, 2;
    add.u32 %r4, %r4, %r2;
    ld.shared.u32 %r5, [%r4];
    st.global.u32 [%rd2], %r5;";
    let found = Launch::new(body, 128).shared(512).run(128, &[0]).unwrap();
    assert_eq!(found, (0..128).map(|thread| thread ^ 63).collect::<Vec<u32>>());
}
