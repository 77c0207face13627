//! Modules, functions that are called, shapes of launches.

use super::Launch;
use cuda_emulator::{Checks, Emulator, Kind, Order, Shape};

const ONE: Shape = Shape { grid: [1; 3], block: [1; 3], dynamic: 0 };

/// The words that a kernel `k(out, x)` writes.
fn run(text: &str, x: u32, words: usize) -> Result<Vec<u32>, cuda_emulator::Fault> {
    let mut emulator = Emulator::new(Order::Forward, Checks::default());
    let module = emulator.load(text)?;
    let kernel = emulator.kernel(module, "k")?;
    let out = emulator.allocate(4 * words)?;
    let mut arguments = out.to_le_bytes().to_vec();
    arguments.extend(x.to_le_bytes());
    emulator.launch(kernel, Shape { block: [4, 1, 1], ..ONE }, &arguments)?;
    let found = emulator.read(out, 4 * words)?;
    Ok(found.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect())
}

#[test]
fn functions_tables_and_scopes() {
    // Declared before it is there, called twice, in a branch; a constant table; registers in a scope of their own.
    let text = "
.version 9.0
.target sm_90
.address_size 64
.func (.param .b32 result) twice(.param .b32 x);
.const .align 4 .u32 table[4] = {10, 20, 0x1E, 40};
.global .align 8 .u64 where = table;
.visible .entry k(.param .u64 out, .param .u32 x)
{
    .reg .pred %p<4>;
    .reg .b32 %r<10>;
    .reg .b64 %rd<10>;
    ld.param.u64 %rd1, [out];
    ld.param.u32 %r1, [x];
    mov.u32 %r2, %tid.x;
    setp.gt.u32 %p1, %r2, 1;
    mov.u32 %r3, 0;
    @%p1 bra $L_skip;
    {
    .param .b32 param0;
    st.param.b32 [param0+0], %r1;
    .param .b32 retval0;
    call.uni (retval0), twice, (param0);
    ld.param.b32 %r3, [retval0+0];
    }
    {
    .reg .b32 %r<2>;
    mov.u32 %r1, 5;
    .param .b32 param0;
    st.param.b32 [param0+0], %r1;
    .param .b32 retval0;
    call.uni (retval0), twice, (param0);
    ld.param.b32 %r0, [retval0+0];
    add.u32 %r3, %r3, %r0;
    }
$L_skip:
    ld.global.u64 %rd2, [where];
    mul.wide.u32 %rd3, %r2, 4;
    add.u64 %rd2, %rd2, %rd3;
    ld.const.u32 %r4, [%rd2];
    add.u32 %r4, %r4, %r3;
    add.u64 %rd1, %rd1, %rd3;
    st.global.u32 [%rd1], %r4;
    ret;
}
/* twice x; nine where that is odd, which it never is */
.func (.param .b32 result) twice(.param .b32 x)
{
    .reg .pred %p<2>;
    .reg .b32 %r<4>;
    ld.param.b32 %r1, [x];
    add.u32 %r2, %r1, %r1;
    and.b32 %r3, %r2, 1;
    setp.eq.u32 %p1, %r3, 0;
    @%p1 bra $L_even;
    st.param.b32 [result+0], 9;
    ret;
$L_even:
    st.param.b32 [result+0], %r2;
    ret;
}";
    assert_eq!(run(text, 100, 4).unwrap(), [220, 230, 30, 40]);
    let recursive =
        text.replace("add.u32 %r2, %r1, %r1;", "add.u32 %r2, %r1, %r1; call.uni (result), twice, (x);");
    let fault = run(&recursive, 1, 4).unwrap_err();
    assert!(fault.kind == Kind::InvalidPtx && fault.text.contains("calls itself"), "{fault}");
}

#[test]
fn what_is_unknown_fails_where_it_is_launched() {
    let text = "
.version 9.0
.target sm_90
.address_size 64
.visible .entry other(.param .u64 out)
{
    frobnicate.b32 %r1, %r2;
}
.visible .entry k(.param .u64 out, .param .u32 x)
{
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [out];
    st.global.u32 [%rd1], 3;
    ret;
}";
    assert_eq!(run(text, 0, 1).unwrap(), [3]);
    let mut emulator = Emulator::new(Order::Forward, Checks::default());
    let module = emulator.load(text).unwrap();
    let other = emulator.kernel(module, "other").unwrap();
    let fault = emulator.launch(other, ONE, &[0; 8]).unwrap_err();
    assert_eq!(fault.kind, Kind::InvalidPtx);
    for part in ["kernel other", "line 7", "frobnicate.b32"] {
        assert!(fault.text.contains(part), "{fault}");
    }
    assert_eq!(emulator.kernel(module, "missing").unwrap_err().kind, Kind::NotFound);
    for (wrong, says) in
        [("ld.global.u32 %r1, [%rx];", "`%rx` is not declared"), ("bra $L_nowhere;", "no label $L_nowhere")]
    {
        Launch::new(wrong, 1).fails(Kind::InvalidPtx, &[says]);
    }
    assert_eq!(emulator.load(".visible .entry k(").unwrap_err().kind, Kind::InvalidPtx);
}

#[test]
fn shapes_that_no_device_takes() {
    for threads in [0, 1025] {
        Launch::new("", threads).fails(Kind::InvalidValue, &["at most 1024"]);
    }
    let grid = |grid| Launch { grid, ..Launch::new("", 1) };
    for shape in [[0, 1, 1], [1, 65_536, 1], [1, 1, 65_536]] {
        grid(shape).fails(Kind::InvalidValue, &["blocks"]);
    }
    let mut emulator = Emulator::new(Order::Forward, Checks::default());
    let text = ".version 9.0\n.target sm_90\n.address_size 64\n.entry k()\n.maxntid 64, 1, 1\n{\n ret;\n}";
    let module = emulator.load(text).unwrap();
    let kernel = emulator.kernel(module, "k").unwrap();
    emulator.launch(kernel, Shape { block: [64, 1, 1], ..ONE }, &[]).unwrap();
    let fault = emulator.launch(kernel, Shape { block: [65, 1, 1], ..ONE }, &[]).unwrap_err();
    assert!(fault.text.contains("made for at most 64"), "{fault}");
    // More than 48 KiB of shared memory must be allowed, more than 227 KiB cannot be.
    let much = Shape { dynamic: 49_153, ..ONE };
    assert!(emulator.launch(kernel, much, &[]).unwrap_err().text.contains("have to be allowed"));
    emulator.allow_dynamic(kernel, 60_000).unwrap();
    emulator.launch(kernel, much, &[]).unwrap();
    assert!(emulator.allow_dynamic(kernel, 240_000).is_err());
}

#[test]
fn coordinates_in_three_directions() {
    let mut emulator = Emulator::new(Order::Forward, Checks::default());
    let text = "
.version 9.0
.target sm_90
.address_size 64
.visible .entry k(.param .u64 out)
{
    .reg .b32 %r<20>;
    .reg .b64 %rd<4>;
    mov.u32 %r1, %tid.x;
    mov.u32 %r2, %tid.y;
    mov.u32 %r3, %tid.z;
    mov.u32 %r4, %ctaid.x;
    mov.u32 %r5, %ctaid.y;
    mov.u32 %r6, %ctaid.z;
    mad.lo.u32 %r7, %r6, 2, %r5;
    mad.lo.u32 %r7, %r7, 2, %r4;
    mad.lo.u32 %r7, %r7, 4, %r3;
    mad.lo.u32 %r7, %r7, 5, %r2;
    mad.lo.u32 %r7, %r7, 3, %r1;
    ld.param.u64 %rd1, [out];
    mul.wide.u32 %rd2, %r7, 4;
    add.u64 %rd1, %rd1, %rd2;
    st.global.u32 [%rd1], %r7;
    ret;
}";
    let module = emulator.load(text).unwrap();
    let kernel = emulator.kernel(module, "k").unwrap();
    let count = 2 * 2 * 2 * 60;
    let out = emulator.allocate(4 * count).unwrap();
    emulator
        .launch(kernel, Shape { grid: [2; 3], block: [3, 5, 4], dynamic: 0 }, &out.to_le_bytes())
        .unwrap();
    let found = emulator.read(out, 4 * count).unwrap();
    for (i, word) in found.chunks(4).enumerate() {
        assert_eq!(u32::from_le_bytes(word.try_into().unwrap()), i as u32);
    }
}

/// Every kernel of the files that `EMULATED_PTX` names, separated by colons, can be read. What cannot is printed.
#[test]
#[ignore = "needs files of PTX"]
fn every_kernel_of_these_files_can_be_read() {
    let files = std::env::var("EMULATED_PTX").unwrap();
    let (mut good, mut bad) = (0, 0);
    for file in files.split(':') {
        let mut emulator = Emulator::new(Order::Forward, Checks::default());
        let module = emulator.load(&std::fs::read_to_string(file).unwrap()).unwrap();
        for name in emulator.kernel_names(module).unwrap() {
            let kernel = emulator.kernel(module, &name).unwrap();
            match emulator.parameters(kernel) {
                Ok(_) => good += 1,
                Err(fault) => {
                    bad += 1;
                    println!("{file}: {fault}");
                }
            }
        }
    }
    println!("{good} kernels can be read, {bad} cannot");
    assert_eq!(bad, 0);
}
