//! Numbers: rounding, NaN, saturation, and whole ones to the last bit.

use super::Launch;

/// Instructions on a, b, c in %r1…, %f1… and %rd4…, what they are, and what stands in %r4 or %f4 afterwards. Each is run by one
/// thread and by all of a warp.
#[track_caller]
fn check(cases: &[(&str, [u32; 3], u32)]) {
    for (instructions, [a, b, c], expected) in cases {
        let result = if instructions.contains("%f4") {
            "st.global.f32 [%rd2], %f4"
        } else {
            "st.global.u32 [%rd2], %r4"
        };
        let body = format!(
            "    ld.global.u32 %r1, [%rd1];
    ld.global.u32 %r2, [%rd1+4];
    ld.global.u32 %r3, [%rd1+8];
    mov.b32 %f1, %r1;
    mov.b32 %f2, %r2;
    mov.b32 %f3, %r3;
    mov.b64 %rd4, {{%r1, %r2}};
    {instructions};
    {result};"
        );
        for threads in [1, 32] {
            let found = Launch::new(&body, threads).run(32, &[*a, *b, *c]).unwrap();
            for (lane, found) in found[..threads as usize].iter().enumerate() {
                assert_eq!(
                    *found, *expected,
                    "`{instructions}` of {a:#010x}, {b:#010x}, {c:#010x}, lane {lane}: {found:#010x}, not {expected:#010x}"
                );
            }
        }
    }
}

/// Expected by exact rational arithmetic and one rounding (Python's `fractions`).
#[test]
fn every_rounding() {
    let half = |operation: &str| {
        format!(
            "cvt.u16.u32 %h1, %r1; cvt.u16.u32 %h2, %r2; cvt.u16.u32 %h3, %r3; {operation} %h4, %h1, %h2, %h3; cvt.u32.u16 %r4, %h4"
        )
    };
    let (bf16, f16) = (half("fma.rn.bf16"), half("fma.rn.f16"));
    check(&[
        ("fma.rn.f32 %f4, %f1, %f2, %f3", [0x3f800001, 0x3f800001, 0xbf800002], 0x28800000),
        ("fma.rz.f32 %f4, %f1, %f2, %f3", [0x3f800001, 0x3f800001, 0xbf800002], 0x28800000),
        ("fma.rm.f32 %f4, %f1, %f2, %f3", [0x3f800001, 0x3f800001, 0xbf800002], 0x28800000),
        ("fma.rp.f32 %f4, %f1, %f2, %f3", [0x3f800001, 0x3f800001, 0xbf800002], 0x28800000),
        ("fma.rn.f32 %f4, %f1, %f2, %f3", [0x4b800001, 0x3f800001, 0x00000001], 0x4b800002),
        ("fma.rz.f32 %f4, %f1, %f2, %f3", [0x4b800001, 0x3f800001, 0x00000001], 0x4b800002),
        ("fma.rm.f32 %f4, %f1, %f2, %f3", [0x4b800001, 0x3f800001, 0x00000001], 0x4b800002),
        ("fma.rp.f32 %f4, %f1, %f2, %f3", [0x4b800001, 0x3f800001, 0x00000001], 0x4b800003),
        ("fma.rn.f32 %f4, %f1, %f2, %f3", [0x45800800, 0x45800800, 0x30800000], 0x4b801001),
        ("fma.rz.f32 %f4, %f1, %f2, %f3", [0x45800800, 0x45800800, 0x30800000], 0x4b801000),
        ("fma.rm.f32 %f4, %f1, %f2, %f3", [0x45800800, 0x45800800, 0x30800000], 0x4b801000),
        ("fma.rp.f32 %f4, %f1, %f2, %f3", [0x45800800, 0x45800800, 0x30800000], 0x4b801001),
        ("fma.rn.f32 %f4, %f1, %f2, %f3", [0x45800800, 0xc5800800, 0x30800000], 0xcb801000),
        ("fma.rz.f32 %f4, %f1, %f2, %f3", [0x45800800, 0xc5800800, 0x30800000], 0xcb801000),
        ("fma.rm.f32 %f4, %f1, %f2, %f3", [0x45800800, 0xc5800800, 0x30800000], 0xcb801001),
        ("fma.rp.f32 %f4, %f1, %f2, %f3", [0x45800800, 0xc5800800, 0x30800000], 0xcb801000),
        ("fma.rn.f32 %f4, %f1, %f2, %f3", [0x45800800, 0x45800800, 0xb0800000], 0x4b801000),
        ("fma.rz.f32 %f4, %f1, %f2, %f3", [0x45800800, 0x45800800, 0xb0800000], 0x4b801000),
        ("fma.rm.f32 %f4, %f1, %f2, %f3", [0x45800800, 0x45800800, 0xb0800000], 0x4b801000),
        ("fma.rp.f32 %f4, %f1, %f2, %f3", [0x45800800, 0x45800800, 0xb0800000], 0x4b801001),
        ("fma.rn.f32 %f4, %f1, %f2, %f3", [0x3fcfbb3e, 0x405ef2e0, 0xae2de47d], 0x40b4e975),
        ("fma.rz.f32 %f4, %f1, %f2, %f3", [0x3fcfbb3e, 0x405ef2e0, 0xae2de47d], 0x40b4e974),
        ("fma.rm.f32 %f4, %f1, %f2, %f3", [0x3fcfbb3e, 0x405ef2e0, 0xae2de47d], 0x40b4e974),
        ("fma.rp.f32 %f4, %f1, %f2, %f3", [0x3fcfbb3e, 0x405ef2e0, 0xae2de47d], 0x40b4e975),
        ("fma.rn.f32 %f4, %f1, %f2, %f3", [0xbfd8608f, 0x406bb6a1, 0xae5eb4ff], 0xc0c73b00),
        ("fma.rz.f32 %f4, %f1, %f2, %f3", [0xbfd8608f, 0x406bb6a1, 0xae5eb4ff], 0xc0c73aff),
        ("fma.rm.f32 %f4, %f1, %f2, %f3", [0xbfd8608f, 0x406bb6a1, 0xae5eb4ff], 0xc0c73b00),
        ("fma.rp.f32 %f4, %f1, %f2, %f3", [0xbfd8608f, 0x406bb6a1, 0xae5eb4ff], 0xc0c73aff),
        ("fma.rn.f32 %f4, %f1, %f2, %f3", [0xbff60ebe, 0x4003b671, 0x2e6b9086], 0xc07d31cd),
        ("fma.rz.f32 %f4, %f1, %f2, %f3", [0xbff60ebe, 0x4003b671, 0x2e6b9086], 0xc07d31cc),
        ("fma.rm.f32 %f4, %f1, %f2, %f3", [0xbff60ebe, 0x4003b671, 0x2e6b9086], 0xc07d31cd),
        ("fma.rp.f32 %f4, %f1, %f2, %f3", [0xbff60ebe, 0x4003b671, 0x2e6b9086], 0xc07d31cc),
        ("add.rn.f32 %f4, %f1, %f2", [0x3f800000, 0x33800000, 0], 0x3f800000),
        ("add.rz.f32 %f4, %f1, %f2", [0x3f800000, 0x33800000, 0], 0x3f800000),
        ("add.rm.f32 %f4, %f1, %f2", [0x3f800000, 0x33800000, 0], 0x3f800000),
        ("add.rp.f32 %f4, %f1, %f2", [0x3f800000, 0x33800000, 0], 0x3f800001),
        ("add.rn.f32 %f4, %f1, %f2", [0x3f800001, 0x33800000, 0], 0x3f800002),
        ("add.rz.f32 %f4, %f1, %f2", [0x3f800001, 0x33800000, 0], 0x3f800001),
        ("add.rm.f32 %f4, %f1, %f2", [0x3f800001, 0x33800000, 0], 0x3f800001),
        ("add.rp.f32 %f4, %f1, %f2", [0x3f800001, 0x33800000, 0], 0x3f800002),
        ("add.rn.f32 %f4, %f1, %f2", [0x3f800000, 0x33800001, 0], 0x3f800001),
        ("add.rz.f32 %f4, %f1, %f2", [0x3f800000, 0x33800001, 0], 0x3f800000),
        ("add.rm.f32 %f4, %f1, %f2", [0x3f800000, 0x33800001, 0], 0x3f800000),
        ("add.rp.f32 %f4, %f1, %f2", [0x3f800000, 0x33800001, 0], 0x3f800001),
        ("add.rn.f32 %f4, %f1, %f2", [0xbf800000, 0xb3000000, 0], 0xbf800000),
        ("add.rz.f32 %f4, %f1, %f2", [0xbf800000, 0xb3000000, 0], 0xbf800000),
        ("add.rm.f32 %f4, %f1, %f2", [0xbf800000, 0xb3000000, 0], 0xbf800001),
        ("add.rp.f32 %f4, %f1, %f2", [0xbf800000, 0xb3000000, 0], 0xbf800000),
        ("add.rn.f32 %f4, %f1, %f2", [0x3f800000, 0x00000001, 0], 0x3f800000),
        ("add.rz.f32 %f4, %f1, %f2", [0x3f800000, 0x00000001, 0], 0x3f800000),
        ("add.rm.f32 %f4, %f1, %f2", [0x3f800000, 0x00000001, 0], 0x3f800000),
        ("add.rp.f32 %f4, %f1, %f2", [0x3f800000, 0x00000001, 0], 0x3f800001),
        ("add.rn.f32 %f4, %f1, %f2", [0x7f7fffff, 0x73000000, 0], 0x7f800000),
        ("add.rz.f32 %f4, %f1, %f2", [0x7f7fffff, 0x73000000, 0], 0x7f7fffff),
        ("add.rm.f32 %f4, %f1, %f2", [0x7f7fffff, 0x73000000, 0], 0x7f7fffff),
        ("add.rp.f32 %f4, %f1, %f2", [0x7f7fffff, 0x73000000, 0], 0x7f800000),
        ("cvt.rn.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x3f801000, 0, 0], 0x00003c00),
        ("cvt.rz.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x3f801000, 0, 0], 0x00003c00),
        ("cvt.rn.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x3f803000, 0, 0], 0x00003c02),
        ("cvt.rz.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x3f803000, 0, 0], 0x00003c01),
        ("cvt.rn.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x3f801001, 0, 0], 0x00003c01),
        ("cvt.rz.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x3f801001, 0, 0], 0x00003c00),
        ("cvt.rn.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x477fefff, 0, 0], 0x00007bff),
        ("cvt.rz.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x477fefff, 0, 0], 0x00007bff),
        ("cvt.rn.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x477ff000, 0, 0], 0x00007c00),
        ("cvt.rz.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x477ff000, 0, 0], 0x00007bff),
        ("cvt.rn.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x33000000, 0, 0], 0x00000000),
        ("cvt.rz.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x33000000, 0, 0], 0x00000000),
        ("cvt.rn.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x33000001, 0, 0], 0x00000001),
        ("cvt.rz.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x33000001, 0, 0], 0x00000000),
        ("cvt.rn.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x33800000, 0, 0], 0x00000001),
        ("cvt.rz.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x33800000, 0, 0], 0x00000001),
        ("cvt.rn.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x387fe000, 0, 0], 0x00000400),
        ("cvt.rz.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x387fe000, 0, 0], 0x000003ff),
        ("cvt.rn.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0xb8800fff, 0, 0], 0x00008400),
        ("cvt.rz.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0xb8800fff, 0, 0], 0x00008400),
        ("cvt.rn.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x38001000, 0, 0], 0x00000200),
        ("cvt.rz.f16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x38001000, 0, 0], 0x00000200),
        ("cvt.rn.bf16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x3f808000, 0, 0], 0x00003f80),
        ("cvt.rz.bf16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x3f808000, 0, 0], 0x00003f80),
        ("cvt.rn.bf16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x3f818000, 0, 0], 0x00003f82),
        ("cvt.rz.bf16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x3f818000, 0, 0], 0x00003f81),
        ("cvt.rn.bf16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x3f808001, 0, 0], 0x00003f81),
        ("cvt.rz.bf16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x3f808001, 0, 0], 0x00003f80),
        ("cvt.rn.bf16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x7f7f8000, 0, 0], 0x00007f80),
        ("cvt.rz.bf16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x7f7f8000, 0, 0], 0x00007f7f),
        ("cvt.rn.bf16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x00008000, 0, 0], 0x00000000),
        ("cvt.rz.bf16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x00008000, 0, 0], 0x00000000),
        ("cvt.rn.bf16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x00018000, 0, 0], 0x00000002),
        ("cvt.rz.bf16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x00018000, 0, 0], 0x00000001),
        ("cvt.rn.bf16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x80007fff, 0, 0], 0x00008000),
        ("cvt.rz.bf16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x80007fff, 0, 0], 0x00008000),
        ("cvt.rn.bf16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x7f7fffff, 0, 0], 0x00007f80),
        ("cvt.rz.bf16.f32 %h4, %f1; cvt.u32.u16 %r4, %h4", [0x7f7fffff, 0, 0], 0x00007f7f),
        // A product half way between two values, with a sum that decides.
        (&bf16, [0x3f88, 0x3f88, 0x0000], 0x3f90),
        (&bf16, [0x3f88, 0x3f88, 0x0180], 0x3f91),
        (&bf16, [0x3f88, 0x3f88, 0x8180], 0x3f90),
        (&bf16, [0x3f83, 0x3f84, 0x0080], 0x3f87),
        (&f16, [0x3c10, 0x3c20, 0x0000], 0x3c30),
        (&f16, [0x3c10, 0x3c20, 0x0001], 0x3c31),
        (&f16, [0x3c10, 0x3c20, 0x8001], 0x3c30),
        (&f16, [0x7bff, 0x3c01, 0xd000], 0x7c00),
        (&f16, [0x0401, 0x3801, 0x0001], 0x0202),
    ]);
}

const NAN: u32 = 0x7fff_ffff;
const ONE: u32 = 0x3f80_0000;

#[test]
fn nan_and_infinity() {
    check(&[
        ("add.f32 %f4, %f1, %f2", [0x7f80_0000, 0xff80_0000, 0], NAN),
        ("mul.f32 %f4, %f1, %f2", [0xffc0_1234, ONE, 0], NAN),
        ("mov.f32 %f4, %f1", [0xffc0_1234, 0, 0], 0xffc0_1234),
        ("neg.f32 %f4, %f1", [0x7fc0_1234, 0, 0], 0xffc0_1234),
        ("div.rn.f32 %f4, %f1, %f2", [ONE, 0x8000_0000, 0], 0xff80_0000),
        ("sqrt.rn.f32 %f4, %f1", [0xbf80_0000, 0, 0], NAN),
        ("min.f32 %f4, %f1, %f2", [0x7fc0_0000, ONE, 0], ONE),
        ("max.f32 %f4, %f1, %f2", [ONE, 0x7fc0_0000, 0], ONE),
        ("min.NaN.f32 %f4, %f1, %f2", [0x7fc0_0000, ONE, 0], NAN),
        ("max.f32 %f4, %f1, %f2", [0x8000_0000, 0, 0], 0),
        ("min.f32 %f4, %f1, %f2", [0, 0x8000_0000, 0], 0x8000_0000),
        ("ex2.approx.ftz.f32 %f4, %f1", [0x4040_0000, 0, 0], 0x4100_0000),
        ("ex2.approx.ftz.f32 %f4, %f1", [0xc300_0000, 0, 0], 0),
        ("lg2.approx.f32 %f4, %f1", [0x4100_0000, 0, 0], 0x4040_0000),
        ("rcp.approx.ftz.f32 %f4, %f1", [0x0000_0001, 0, 0], 0x7f80_0000),
        ("rsqrt.approx.f32 %f4, %f1", [0x4080_0000, 0, 0], 0x3f00_0000),
        ("add.ftz.f32 %f4, %f1, %f2", [0x0000_0001, 0x8000_0000, 0], 0),
        ("add.sat.f32 %f4, %f1, %f2", [ONE, ONE, 0], ONE),
        ("fma.rn.sat.f32 %f4, %f1, %f2, %f3", [0x7fc0_0000, ONE, ONE], 0),
        ("copysign.f32 %f4, %f1, %f2", [0x8000_0000, ONE, 0], 0xbf80_0000),
    ]);
}

#[test]
fn comparisons_with_nan() {
    for (how, less, nan) in [
        ("lt", 1, 0),
        ("ltu", 1, 1),
        ("gt", 0, 0),
        ("gtu", 0, 1),
        ("ne", 1, 0),
        ("neu", 1, 1),
        ("eq", 0, 0),
        ("equ", 0, 1),
        ("num", 1, 0),
        ("nan", 0, 1),
    ] {
        let text = format!("setp.{how}.f32 %p1, %f1, %f2; selp.u32 %r4, 1, 0, %p1");
        check(&[(&text, [ONE, 0x4000_0000, 0], less), (&text, [ONE, NAN, 0], nan)]);
    }
    check(&[
        ("setp.lt.s32 %p1, %r1, %r2; selp.u32 %r4, 1, 0, %p1", [u32::MAX, 0, 0], 1),
        ("setp.lt.u32 %p1, %r1, %r2; selp.u32 %r4, 1, 0, %p1", [u32::MAX, 0, 0], 0),
        (
            "setp.eq.s32 %p2, %r1, 7; setp.lt.and.s32 %p1|%p3, %r1, %r2, !%p2; selp.u32 %r4, 1, 0, %p3",
            [9, 8, 0],
            1,
        ),
        (
            "setp.eq.s32 %p2, %r1, 9; setp.lt.and.s32 %p1|%p3, %r1, %r2, !%p2; selp.u32 %r4, 1, 0, %p3",
            [9, 8, 0],
            0,
        ),
        ("testp.subnormal.f32 %p1, %f1; selp.u32 %r4, 1, 0, %p1", [1, 0, 0], 1),
        ("set.lt.u32.f32 %r4, %f1, %f2", [0, ONE, 0], u32::MAX),
    ]);
}

#[test]
fn conversions() {
    check(&[
        ("cvt.rzi.s32.f32 %r4, %f1", [0x7fc0_0000, 0, 0], 0),
        ("cvt.rzi.s32.f32 %r4, %f1", [0x4f32_d05e, 0, 0], i32::MAX as u32),
        ("cvt.rzi.s32.f32 %r4, %f1", [0xbfc0_0000, 0, 0], -1i32 as u32),
        ("cvt.rmi.s32.f32 %r4, %f1", [0xbfc0_0000, 0, 0], -2i32 as u32),
        ("cvt.rpi.s32.f32 %r4, %f1", [0x3fc0_0000, 0, 0], 2),
        ("cvt.rni.s32.f32 %r4, %f1", [0x4020_0000, 0, 0], 2),
        ("cvt.rni.s32.f32 %r4, %f1", [0x4060_0000, 0, 0], 4),
        ("cvt.rzi.u32.f32 %r4, %f1", [0xbf80_0000, 0, 0], 0),
        ("cvt.rni.f32.f32 %f4, %f1", [0xbf00_0000, 0, 0], 0x8000_0000),
        ("cvt.rn.f32.u32 %f4, %r1", [0x0100_0001, 0, 0], 0x4b80_0000),
        ("cvt.rp.f32.u32 %f4, %r1", [0x0100_0001, 0, 0], 0x4b80_0001),
        ("cvt.rn.f32.s64 %f4, %rd4", [1, 0x0080_0000 | 0x8000_0000, 0], 0xdeff_0000),
        ("cvt.sat.f32.f32 %f4, %f1", [0x4000_0000, 0, 0], ONE),
        ("cvt.sat.f32.f32 %f4, %f1", [0x7fc0_0000, 0, 0], 0),
        ("cvt.s32.s8 %r4, %r1", [0x1234_5680, 0, 0], 0xffff_ff80),
        ("cvt.u32.u8 %r4, %r1", [0x1234_5680, 0, 0], 0x80),
        ("cvt.sat.u8.s32 %h1, %r1; cvt.u32.u16 %r4, %h1", [-5i32 as u32, 0, 0], 0),
        ("cvt.sat.s8.s32 %h1, %r1; cvt.u32.u16 %r4, %h1", [300, 0, 0], 127),
        ("cvt.s64.s32 %rd5, %r1; mov.b64 {%r5, %r4}, %rd5", [0x8000_0000, 0, 0], u32::MAX),
        ("cvt.u64.u32 %rd5, %r1; mov.b64 {%r5, %r4}, %rd5", [0x8000_0000, 0, 0], 0),
        ("cvt.f64.f32 %fd1, %f1; cvt.rn.f32.f64 %f4, %fd1", [0x0000_0001, 0, 0], 1),
        ("cvt.rn.f16x2.f32 %r4, %f1, %f2", [ONE, 0x4000_0000, 0], 0x3c00_4000),
        ("cvt.rn.bf16x2.f32 %r4, %f1, %f2", [ONE, 0x4000_0000, 0], 0x3f80_4000),
        ("cvt.rna.tf32.f32 %r4, %f1", [0x3f80_1000, 0, 0], 0x3f80_2000),
        ("cvt.u16.u32 %h1, %r1; cvt.f32.f16 %f4, %h1", [0x8001, 0, 0], 0xb380_0000),
        ("cvt.u16.u32 %h1, %r1; cvt.f32.f16 %f4, %h1", [0xfc00, 0, 0], 0xff80_0000),
        ("cvt.u16.u32 %h1, %r1; cvt.f32.bf16 %f4, %h1", [0x8001, 0, 0], 0x8001_0000),
        ("cvt.u16.u32 %h1, %r1; cvt.rn.f16.s32 %h2, %r1; cvt.u32.u16 %r4, %h2", [2049, 0, 0], 0x6800),
        ("add.f16x2 %r4, %r1, %r2", [0x3c00_4000, 0x3c00_3c00, 0], 0x4000_4200),
        ("fma.rn.bf16x2 %r4, %r1, %r2, %r3", [0x3f80_4000, 0x4000_4000, 0x3f80_0000], 0x4040_4080),
        // 448 is the largest of E4M3, 57344 of E5M2; ties to even; half of the smallest is zero.
        (
            "cvt.rn.satfinite.e4m3x2.f32 %h1, %f1, %f2; cvt.u32.u16 %r4, %h1",
            [0x43e8_0000, 0xc47a_0000, 0],
            0x7efe,
        ),
        (
            "cvt.rn.satfinite.e4m3x2.f32 %h1, %f1, %f2; cvt.u32.u16 %r4, %h1",
            [0x3f88_0000, 0x3f98_0000, 0],
            0x383a,
        ),
        (
            "cvt.rn.satfinite.e4m3x2.f32 %h1, %f1, %f2; cvt.u32.u16 %r4, %h1",
            [0x3a80_0000, 0x3a80_0001, 0],
            0x0001,
        ),
        ("cvt.rn.satfinite.e5m2x2.f32 %h1, %f1, %f2; cvt.u32.u16 %r4, %h1", [0x7f80_0000, ONE, 0], 0x7b3c),
        ("cvt.u16.u32 %h1, %r1; cvt.rn.f16x2.e4m3x2 %r4, %h1", [0x7e01, 0, 0], 0x5f00_1800),
        ("cvt.u16.u32 %h1, %r1; cvt.rn.f16x2.e5m2x2 %r4, %h1", [0xfc3c, 0, 0], 0xfc00_3c00),
        ("max.NaN.f16x2 %r4, %r1, %r2", [0x7e00_3c00, 0x3c00_4000, 0], 0x7fff_4000),
    ]);
}

#[test]
fn whole_numbers() {
    check(&[
        ("shl.b32 %r4, %r1, %r2", [1, 31, 0], 1 << 31),
        ("shl.b32 %r4, %r1, %r2", [1, 32, 0], 0),
        ("shr.u32 %r4, %r1, %r2", [0x8000_0000, 40, 0], 0),
        ("shr.s32 %r4, %r1, %r2", [0x8000_0000, 40, 0], u32::MAX),
        ("mul.hi.u32 %r4, %r1, %r2", [u32::MAX, u32::MAX, 0], 0xffff_fffe),
        ("mul.hi.s32 %r4, %r1, %r2", [u32::MAX, 5, 0], u32::MAX),
        ("mad.lo.s32 %r4, %r1, %r2, %r3", [3, 5, 7], 22),
        ("mul.wide.s32 %rd5, %r1, %r2; mov.b64 {%r5, %r4}, %rd5", [u32::MAX, 5, 0], u32::MAX),
        ("div.s32 %r4, %r1, %r2", [-7i32 as u32, 2, 0], -3i32 as u32),
        ("rem.s32 %r4, %r1, %r2", [-7i32 as u32, 2, 0], -1i32 as u32),
        ("div.u32 %r4, %r1, %r2", [7, 0, 0], u32::MAX),
        ("div.s32 %r4, %r1, %r2", [0x8000_0000, u32::MAX, 0], 0x8000_0000),
        ("popc.b32 %r4, %r1", [0xf0f0_0001, 0, 0], 9),
        ("clz.b32 %r4, %r1", [0, 0, 0], 32),
        ("brev.b32 %r4, %r1", [1, 0, 0], 1 << 31),
        ("bfind.u32 %r4, %r1", [0x10, 0, 0], 4),
        ("bfind.s32 %r4, %r1", [u32::MAX, 0, 0], u32::MAX),
        ("bfe.u32 %r4, %r1, 4, 8", [0x0000_0ab0, 0, 0], 0xab),
        ("bfe.s32 %r4, %r1, 4, 8", [0x0000_0ab0, 0, 0], 0xffff_ffab),
        ("bfe.s32 %r4, %r1, 28, 8", [0xa000_0000, 0, 0], 0xffff_fffa),
        ("bfi.b32 %r4, %r1, %r2, 8, 4", [0xf5, 0xffff_ffff, 0], 0xffff_f5ff),
        ("prmt.b32 %r4, %r1, %r2, 0x7531", [0x0403_0201, 0x0807_0605, 0], 0x0806_0402),
        ("prmt.b32 %r4, %r1, %r2, 0x8888", [0x0000_0080, 0, 0], u32::MAX),
        ("lop3.b32 %r4, %r1, %r2, %r3, 0xe8", [0xff00_ff00, 0xf0f0_f0f0, 0xcccc_cccc], 0xfcc0_fcc0),
        (
            "lop3.b32 %r4, %r1, %r2, %r3, 0x96",
            [0xff00_ff00, 0xf0f0_f0f0, 0xcccc_cccc],
            0xff00_ff00 ^ 0xf0f0_f0f0 ^ 0xcccc_cccc,
        ),
        ("shf.l.wrap.b32 %r4, %r1, %r2, %r3", [0x8000_0000, 1, 1], 3),
        ("shf.r.wrap.b32 %r4, %r1, %r2, %r3", [2, 1, 1], 0x8000_0001),
        ("shf.r.clamp.b32 %r4, %r1, %r2, %r3", [2, 9, 77], 9),
        ("add.cc.u32 %r5, %r1, %r2; addc.u32 %r4, 0, 0", [u32::MAX, 1, 0], 1),
        ("sub.cc.u32 %r5, %r1, %r2; subc.u32 %r4, 5, 0", [0, 1, 0], 4),
        ("mad.lo.cc.u32 %r5, %r1, %r2, %r3; madc.hi.u32 %r4, %r1, %r2, 0", [0xffff_ffff, 2, 2], 2),
        ("dp4a.s32.s32 %r4, %r1, %r2, %r3", [0xff02_0304, 0x0101_0101, 10], 18),
        ("dp4a.u32.u32 %r4, %r1, %r2, %r3", [0xff02_0304, 0x0101_0101, 10], 274),
        ("slct.u32.s32 %r4, %r1, %r2, %r3", [1, 2, u32::MAX], 2),
        ("abs.s32 %r4, %r1", [0x8000_0000, 0, 0], 0x8000_0000),
        ("sad.u32 %r4, %r1, %r2, %r3", [3, 5, 1], 3),
        (
            "mov.b32 %r5, {%h1, %h2}; mov.u16 %h1, 7; mov.u16 %h2, 9; mov.b32 %r4, {%h1, %h2}",
            [0, 0, 0],
            9 << 16 | 7,
        ),
        ("add.s16 %h1, 32767, 1; cvt.s32.s16 %r4, %h1", [0, 0, 0], -32768i32 as u32),
        ("min.s64 %rd5, %rd4, 5; cvt.u32.u64 %r4, %rd5", [7, u32::MAX, 0], 7),
        ("add.sat.s32 %r4, %r1, %r2", [i32::MAX as u32, 1, 0], i32::MAX as u32),
    ]);
}

#[test]
fn f64_keeps_all_bits() {
    // 1/3 in f64, back to its two halves.
    check(&[
        (
            "mov.f64 %fd1, 0d4008000000000000; rcp.rn.f64 %fd2, %fd1; mov.b64 {%r4, %r5}, %fd2",
            [0; 3],
            0x5555_5555,
        ),
        (
            "mov.f64 %fd1, 0d4008000000000000; rcp.approx.ftz.f64 %fd2, %fd1; mov.b64 {%r4, %r5}, %fd2",
            [0; 3],
            0,
        ),
        (
            "add.rz.f64 %fd2, 0d3FF0000000000000, 0dBC90000000000000; mov.b64 {%r4, %r5}, %fd2",
            [0; 3],
            0xffff_ffff,
        ),
        ("add.rp.f64 %fd2, 0d3FF0000000000000, 0d3C90000000000000; mov.b64 {%r4, %r5}, %fd2", [0; 3], 1),
        (
            "fma.rn.f64 %fd2, 0d3FF0000000000001, 0d3FF0000000000001, 0dBFF0000000000002; mov.b64 {%r5, %r4}, %fd2",
            [0; 3],
            0x3970_0000,
        ),
    ]);
}
