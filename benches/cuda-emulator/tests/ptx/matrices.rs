//! `mma` and `ldmatrix` against plain products, with the fragments of the PTX ISA written out here once more.

use super::Launch;
use cuda_emulator::Kind;

/// Numbers that every format holds: small whole ones, so that all sums are exact.
fn number(row: usize, column: usize, seed: usize) -> f64 {
    ((row * 7 + column * 3 + seed * 5 + row * column) % 11) as f64 - 5.0
}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    F16,
    Bf16,
    Tf32,
}

fn bits(x: f64, format: Format) -> u32 {
    let bits = (x as f32).to_bits();
    match format {
        Format::Tf32 => bits,
        Format::Bf16 => bits >> 16,
        Format::F16 if x == 0.0 => 0,
        Format::F16 => (bits >> 16 & 0x8000) | ((bits >> 23 & 0xff) - 112) << 10 | (bits >> 13 & 0x3ff),
    }
}

/// Registers of each lane one after another: A, B, C.
fn fragments(k: usize, format: Format, half_sums: bool) -> Vec<u32> {
    let mut words = Vec::new();
    for lane in 0..32 {
        let (group, thread) = (lane >> 2, lane & 3);
        let a = |row, column| bits(number(row, column, 1), format);
        let b = |row, column| bits(number(row, column, 2), format);
        if format == Format::Tf32 {
            // a0: (g, t), a1: (g + 8, t), a2: (g, t + 4), a3: (g + 8, t + 4); b0: (t, g), b1: (t + 4, g).
            for i in 0..k / 2 {
                words.push(a(group + 8 * (i & 1), thread + 4 * (i >> 1)));
            }
            for i in 0..k / 4 {
                words.push(b(thread + 4 * i, group));
            }
        } else {
            // Pairs along k: a0 a1 in row g, a2 a3 in row g + 8, a4 a5 in row g from column 8 on, a6 a7 in row g + 8.
            for i in 0..k / 4 {
                let (row, column) = (group + 8 * (i & 1), 2 * thread + 8 * (i >> 1));
                words.push(a(row, column) | a(row, column + 1) << 16);
            }
            for i in 0..k / 8 {
                let row = 2 * thread + 8 * i;
                words.push(b(row, group) | b(row + 1, group) << 16);
            }
        }
        // c0 c1 in row g, c2 c3 in row g + 8.
        for i in 0..2 {
            let c = [0, 1].map(|j| number(group + 8 * i, 2 * thread + j, 3));
            if half_sums {
                words.push(bits(c[0], Format::F16) | bits(c[1], Format::F16) << 16);
            } else {
                words.extend(c.map(|c| (c as f32).to_bits()));
            }
        }
    }
    words
}

fn expected(k: usize, row: usize, column: usize) -> f64 {
    (0..k).map(|l| number(row, l, 1) * number(l, column, 2)).sum::<f64>() + number(row, column, 3)
}

fn list(from: usize, count: usize) -> String {
    let names: Vec<_> = (from..from + count).map(|i| format!("%r{i}")).collect();
    format!("{{{}}}", names.join(", "))
}

#[test]
fn products_of_every_shape() {
    for (shape, k, types, format, half_sums) in [
        ("m16n8k16", 16, "f32.f16.f16.f32", Format::F16, false),
        ("m16n8k8", 8, "f32.f16.f16.f32", Format::F16, false),
        ("m16n8k16", 16, "f16.f16.f16.f16", Format::F16, true),
        ("m16n8k8", 8, "f16.f16.f16.f16", Format::F16, true),
        ("m16n8k16", 16, "f32.bf16.bf16.f32", Format::Bf16, false),
        ("m16n8k8", 8, "f32.bf16.bf16.f32", Format::Bf16, false),
        ("m16n8k8", 8, "f32.tf32.tf32.f32", Format::Tf32, false),
        ("m16n8k4", 4, "f32.tf32.tf32.f32", Format::Tf32, false),
    ] {
        let (a, b) = if format == Format::Tf32 { (k / 2, k / 4) } else { (k / 4, k / 8) };
        let c = if half_sums { 2 } else { 4 };
        let count = a + b + c;
        let mut body =
            format!("mul.lo.u32 %r1, %r0, {}; cvt.u64.u32 %rd4, %r1; add.u64 %rd4, %rd4, %rd1;\n", 4 * count);
        for i in 0..count {
            body += &format!("ld.global.u32 %r{}, [%rd4+{}];\n", 10 + i, 4 * i);
        }
        body += &format!(
            "mma.sync.aligned.{shape}.row.col.{types} {}, {}, {}, {};\n",
            list(40, c),
            list(10, a),
            list(10 + a, b),
            list(10 + a + b, c)
        );
        body +=
            &format!("mul.lo.u32 %r1, %r0, {}; cvt.u64.u32 %rd5, %r1; add.u64 %rd5, %rd5, %rd0;\n", 4 * c);
        for i in 0..c {
            body += &format!("st.global.u32 [%rd5+{}], %r{};\n", 4 * i, 40 + i);
        }
        let found = Launch::new(&body, 32).run(32 * c, &fragments(k, format, half_sums)).unwrap();
        for lane in 0..32 {
            for i in 0..4 {
                let (row, column) = ((lane >> 2) + 8 * (i >> 1), 2 * (lane & 3) + (i & 1));
                let sum = expected(k, row, column);
                let (found, expected) = if half_sums {
                    (found[lane * 2 + (i >> 1)] >> (16 * (i & 1)) & 0xffff, bits(sum, Format::F16))
                } else {
                    (found[lane * 4 + i], (sum as f32).to_bits())
                };
                assert_eq!(found, expected, "{shape} of {types}: row {row}, column {column}, {sum} expected");
            }
        }
    }
}

#[test]
fn a_product_of_f64() {
    let mut input = Vec::new();
    for lane in 0..32 {
        let (group, thread) = (lane >> 2, lane & 3);
        let c = [0, 1].map(|j| number(group, 2 * thread + j, 3));
        for x in [number(group, thread, 1), number(thread, group, 2), c[0], c[1]] {
            input.extend([x.to_bits() as u32, (x.to_bits() >> 32) as u32]);
        }
    }
    let body = "
    mul.wide.u32 %rd4, %r0, 32;
    add.u64 %rd4, %rd4, %rd1;
    ld.global.v2.f64 {%fd1, %fd2}, [%rd4];
    ld.global.v2.f64 {%fd3, %fd4}, [%rd4+16];
    mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%fd5, %fd6}, {%fd1}, {%fd2}, {%fd3, %fd4};
    cvt.rzi.s32.f64 %r1, %fd5;
    cvt.rzi.s32.f64 %r2, %fd6;
    mul.wide.u32 %rd4, %r0, 8;
    add.u64 %rd4, %rd4, %rd0;
    st.global.v2.u32 [%rd4], {%r1, %r2};";
    let found = Launch::new(body, 32).run(64, &input).unwrap();
    for (i, found) in found.into_iter().enumerate() {
        let (row, column) = (i / 8, i % 8);
        assert_eq!(f64::from(found as i32), expected(4, row, column), "row {row}, column {column}");
    }
}

/// Element (i, j) of matrix m is 64 m + 8 i + j; rows of the matrices lie one after another.
#[test]
fn matrices_from_shared_memory_and_back() {
    let input: Vec<u32> = (0..128).map(|word| (2 * word) | (2 * word + 1) << 16).collect();
    for transposed in [false, true] {
        let trans = if transposed { ".trans" } else { "" };
        let body = format!(
            "
    mul.wide.u32 %rd4, %r0, 16;
    add.u64 %rd5, %rd4, %rd1;
    ld.global.v4.u32 {{%r1, %r2, %r3, %r4}}, [%rd5];
    shl.b32 %r5, %r0, 4;
    st.shared.v4.u32 [%r5], {{%r1, %r2, %r3, %r4}};
    bar.warp.sync -1;
    ldmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 {{%r6, %r7, %r8, %r9}}, [%r5];
    add.u64 %rd5, %rd4, %rd0;
    st.global.v4.u32 [%rd5], {{%r6, %r7, %r8, %r9}};
    bar.warp.sync -1;
    stmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 [%r5], {{%r6, %r7, %r8, %r9}};
    bar.warp.sync -1;
    ld.shared.v4.u32 {{%r1, %r2, %r3, %r4}}, [%r5];
    st.global.v4.u32 [%rd5+512], {{%r1, %r2, %r3, %r4}};"
        );
        let found = Launch::new(&body, 32).shared(512).run(256, &input).unwrap();
        for lane in 0..32 {
            for matrix in 0..4 {
                let word = found[lane * 4 + matrix];
                let (i, j) = (lane / 4, 2 * (lane % 4));
                let of = |i, j| if transposed { 64 * matrix + 8 * j + i } else { 64 * matrix + 8 * i + j };
                assert_eq!((word & 0xffff) as usize, of(i, j), "lane {lane} of matrix {matrix}{trans}");
                assert_eq!((word >> 16) as usize, of(i, j + 1), "lane {lane} of matrix {matrix}{trans}");
            }
        }
        assert_eq!(found[128..], input, "stmatrix{trans} undoes ldmatrix{trans}");
    }
}

#[test]
fn a_product_needs_the_whole_warp() {
    let zero = "{%r1, %r2, %r3, %r4}";
    let product =
        format!("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {zero}, {zero}, {{%r1, %r2}}, {zero};");
    Launch::new(&product, 31).fails(Kind::LaunchFailed, &["all 32 threads"]);
    Launch::new(&format!("setp.eq.u32 %p1, %r0, 4; @%p1 {product}"), 32)
        .fails(Kind::LaunchFailed, &["all 32 threads"]);
    // Those that come by another way are waited for.
    let apart = format!("setp.eq.u32 %p1, %r0, 4; @%p1 bra $L_meet; mov.u32 %r9, 1;\n$L_meet:\n{product}");
    Launch::new(&apart, 32).run(1, &[0]).unwrap();
    let wrong = product.replace("{%r1, %r2}, ", "{%r1}, ");
    Launch::new(&wrong, 32).fails(Kind::InvalidPtx, &["2 registers expected, 1 found"]);
}
