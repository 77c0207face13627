"""Leaves the kernels for quantised weights out of a copy of candle-kernels: without_quantised.py FOLDER.

Their functions are still declared, and end the program when they are called.
"""

import re
import sys
from pathlib import Path

folder = Path(sys.argv[1])
build = (folder / "build.rs").read_text()
start, end = build.find("    let mut moe_sources"), build.rfind("    Ok(())")
if not 0 <= start < end:
    sys.exit("the build script of candle-kernels is not as expected")
build = build[:start] + build[end:]
(folder / "build.rs").write_text(build.replace('const CUTILE_FEATURE: &str = "CARGO_FEATURE_CUTILE";\n', ""))

names = sorted(set(re.findall(r"pub fn (\w+)\(", (folder / "src/ffi.rs").read_text())))
if not names:
    sys.exit("the functions of candle-kernels are not where they were")
stubs = "".join(
    f'    #[unsafe(no_mangle)]\n    extern "C" fn {name}() {{\n'
    f'        unreachable!("{name}: built without the kernels for quantised weights")\n    }}\n'
    for name in names
)
with (folder / "src/lib.rs").open("a") as lib:
    lib.write(f"\n#[allow(clashing_extern_declarations)]\nmod without_quantised {{\n{stubs}}}\n")
