//! The device: memory, modules, launches.

use std::collections::HashMap;
use std::sync::Arc;

use crate::decode::decode;
use crate::execute::{At, Block, Shape, Warp};
use crate::fault::{Fault, Kind, Result};
use crate::memory::Memory;
use crate::program::Program;
use crate::ptx::module::{Module, Space, Value, module};
use crate::record::Record;

/// Shared memory of a block unless the kernel was allowed more.
const SHARED: usize = 48 << 10;

/// The order of blocks, and of the warps of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// From the first.
    #[default]
    Forward,
    /// From the last.
    Reverse,
    /// By a seed.
    Shuffled(u64),
}

/// What is looked at beside addresses.
#[derive(Debug, Clone, Copy)]
pub struct Checks {
    /// Races for shared memory.
    pub shared: bool,
    /// Reads of device memory that was never written.
    pub init: bool,
}

impl Default for Checks {
    fn default() -> Self {
        Self { shared: true, init: false }
    }
}

/// A loaded module.
#[derive(Debug)]
struct Loaded {
    module: Module<'static>,
    text: &'static str,
    globals: HashMap<&'static str, u64>,
}

/// A kernel of a loaded module.
#[derive(Debug)]
struct Kernel {
    module: usize,
    name: String,
    program: Option<Arc<Program>>,
    /// The most dynamic shared memory that it may be launched with.
    dynamic: usize,
    /// Warps of its last launch, to be used again.
    spare: Vec<Warp>,
}

/// The device.
#[derive(Debug, Default)]
pub struct Emulator {
    pub(crate) memory: Memory,
    modules: HashMap<usize, Loaded>,
    kernels: HashMap<usize, Kernel>,
    /// Handles of kernels that were asked for: candle asks before every launch.
    known: HashMap<(usize, String), usize>,
    handles: usize,
    pub(crate) record: Record,
    order: Order,
    checks: Checks,
    /// Major and minor in one number, such as 90; 0 stands for it.
    capability: u32,
    /// Instructions times threads of all launches.
    pub executed: u64,
}

impl Emulator {
    /// A device with these settings.
    pub fn new(order: Order, checks: Checks) -> Self {
        let mut emulator = Self { order, checks, ..Self::default() };
        emulator.memory.check_initialised = checks.init;
        emulator
    }

    /// A device as the environment asks for it.
    pub fn from_environment() -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let order = match variable("EMULATED_BLOCK_ORDER").as_str() {
            "" | "forward" => Order::Forward,
            "reverse" => Order::Reverse,
            other => match other.strip_prefix("shuffled:").and_then(|seed| seed.parse().ok()) {
                Some(seed) => Order::Shuffled(seed),
                None => {
                    eprintln!(
                        "cuda-emulator: EMULATED_BLOCK_ORDER: `reverse` or `shuffled:SEED` expected, found `{other}`"
                    );
                    Order::Forward
                }
            },
        };
        let asked = variable("EMULATED_CHECK");
        let mut checks = Checks::default();
        if !asked.is_empty() {
            checks = Checks { shared: false, init: false };
            for check in asked.split(',') {
                match check {
                    "shared" => checks.shared = true,
                    "init" => checks.init = true,
                    "none" => {}
                    _ => eprintln!(
                        "cuda-emulator: EMULATED_CHECK: `shared`, `init` or `none` expected, found `{check}`"
                    ),
                }
            }
        }
        let mut emulator = Self::new(order, checks);
        let asked = variable("EMULATED_COMPUTE_CAP");
        if !asked.is_empty() {
            match asked.parse() {
                Ok(capability @ 70..=129) => emulator.capability = capability,
                _ => eprintln!(
                    "cuda-emulator: EMULATED_COMPUTE_CAP: a number such as 80 expected, found `{asked}`"
                ),
            }
        }
        if let Some(path) = std::env::var_os("EMULATED_RECORD") {
            emulator.record = Record::to_file(path.as_ref());
        }
        emulator
    }

    /// Compute capability, such as (9, 0).
    pub fn capability(&self) -> (u32, u32) {
        let both = if self.capability == 0 { 90 } else { self.capability };
        (both / 10, both % 10)
    }

    /// The most shared memory that a block can have.
    pub fn most_shared(&self) -> usize {
        match self.capability() {
            (8, 0) => 163 << 10,
            (8, _) => 99 << 10,
            (major, _) if major < 8 => 96 << 10,
            _ => 227 << 10,
        }
    }

    fn handle(&mut self) -> usize {
        // As addresses they are never null.
        self.handles += 16;
        self.handles
    }

    /// Loads a module. Its text is kept for the life of the process.
    ///
    /// # Errors
    /// What is no PTX.
    pub fn load(&mut self, text: &str) -> Result<usize> {
        let text: &'static str = Box::leak(text.to_owned().into_boxed_str());
        let module = module(text)?;
        let mut globals = HashMap::new();
        for variable in &module.variables {
            if !matches!(variable.space, Space::Global | Space::Const) {
                continue;
            }
            let address = self.memory.allocate(variable.size.max(1))?;
            self.memory.write(address, variable.size.max(1))?.fill(0);
            globals.insert(variable.name, address);
        }
        for variable in &module.variables {
            let Some(&address) = globals.get(variable.name) else { continue };
            let bytes = self.memory.write(address, variable.size)?;
            for (value, element) in variable.values.iter().zip(bytes.chunks_mut(variable.element)) {
                let bits = match *value {
                    Value::Bits(bits) => bits,
                    Value::Address(name, offset) => {
                        globals.get(name).map_or(0, |base| base.wrapping_add_signed(offset))
                    }
                };
                let size = element.len().min(8);
                element[..size].copy_from_slice(&bits.to_le_bytes()[..size]);
            }
        }
        let handle = self.handle();
        self.modules.insert(handle, Loaded { module, text, globals });
        Ok(handle)
    }

    /// Forgets a module and its kernels.
    ///
    /// # Errors
    /// There is none of this handle.
    pub fn unload(&mut self, module: usize) -> Result<()> {
        let loaded = self.modules.remove(&module).ok_or_else(|| unknown("module"))?;
        self.kernels.retain(|_, kernel| kernel.module != module);
        self.known.retain(|(of, _), _| *of != module);
        loaded.globals.into_values().try_for_each(|address| self.memory.free(address))
    }

    /// A kernel by its name.
    ///
    /// # Errors
    /// The module has none of this name.
    pub fn kernel(&mut self, module: usize, name: &str) -> Result<usize> {
        let loaded = self.modules.get(&module).ok_or_else(|| unknown("module"))?;
        if !loaded.module.functions.get(name).is_some_and(|function| function.kernel) {
            return Err(Fault::new(Kind::NotFound, format!("the module has no kernel {name}")));
        }
        if let Some(&handle) = self.known.get(&(module, name.to_owned())) {
            return Ok(handle);
        }
        let handle = self.handle();
        self.known.insert((module, name.to_owned()), handle);
        self.kernels.insert(
            handle,
            Kernel { module, name: name.to_owned(), program: None, dynamic: SHARED, spare: Vec::new() },
        );
        Ok(handle)
    }

    /// The names of a module's kernels, sorted.
    ///
    /// # Errors
    /// There is none of this handle.
    pub fn kernel_names(&self, module: usize) -> Result<Vec<String>> {
        let loaded = self.modules.get(&module).ok_or_else(|| unknown("module"))?;
        let kernels = loaded.module.functions.values().filter(|function| function.kernel);
        let mut names: Vec<_> = kernels.map(|function| function.name.to_owned()).collect();
        names.sort();
        Ok(names)
    }

    /// Address and size of a variable of a module.
    ///
    /// # Errors
    /// The module has none of this name.
    pub fn global(&self, module: usize, name: &str) -> Result<(u64, usize)> {
        let loaded = self.modules.get(&module).ok_or_else(|| unknown("module"))?;
        let variable = loaded.module.variables.iter().find(|variable| variable.name == name);
        match (variable, loaded.globals.get(name)) {
            (Some(variable), Some(&address)) => Ok((address, variable.size)),
            _ => Err(Fault::new(Kind::NotFound, format!("the module has no variable {name}"))),
        }
    }

    /// Lets a kernel be launched with more dynamic shared memory than 48 KiB.
    ///
    /// # Errors
    /// More than a block can have.
    pub fn allow_dynamic(&mut self, kernel: usize, bytes: usize) -> Result<()> {
        let (most, static_) = (self.most_shared(), self.program(kernel)?.shared);
        if bytes + static_ > most {
            return Err(value(format!("a block can have {most} bytes of shared memory, not {bytes}")));
        }
        self.kernels.get_mut(&kernel).ok_or_else(|| unknown("kernel"))?.dynamic = bytes;
        Ok(())
    }

    /// A kernel, read when it is first asked for.
    pub(crate) fn program(&mut self, kernel: usize) -> Result<Arc<Program>> {
        let kernel = self.kernels.get_mut(&kernel).ok_or_else(|| unknown("kernel"))?;
        if let Some(program) = &kernel.program {
            return Ok(program.clone());
        }
        let loaded = self.modules.get(&kernel.module).ok_or_else(|| unknown("module"))?;
        let program = Arc::new(decode(&loaded.module, &loaded.globals, &kernel.name)?);
        kernel.program = Some(program.clone());
        Ok(program)
    }

    /// Fresh device memory, poisoned.
    ///
    /// # Errors
    /// More than there is.
    pub fn allocate(&mut self, bytes: usize) -> Result<u64> {
        self.memory.allocate(bytes)
    }

    /// Gives device memory back.
    ///
    /// # Errors
    /// No allocation begins there.
    pub fn free(&mut self, address: u64) -> Result<()> {
        self.memory.free(address)
    }

    /// Bytes of the device, which must have been written.
    ///
    /// # Errors
    /// Not all of them are allocated.
    pub fn read(&self, address: u64, bytes: usize) -> Result<&[u8]> {
        self.memory.read(address, bytes)
    }

    /// Bytes of the device, to be written.
    ///
    /// # Errors
    /// Not all of them are allocated.
    pub fn write(&mut self, address: u64, bytes: usize) -> Result<&mut [u8]> {
        self.memory.write(address, bytes)
    }

    /// Offsets and sizes of a kernel's arguments, and how many bytes they are together.
    ///
    /// # Errors
    /// The kernel cannot be read.
    pub fn parameters(&mut self, kernel: usize) -> Result<(Vec<(usize, usize)>, usize)> {
        let program = self.program(kernel)?;
        Ok((program.parameters.clone(), program.parameter_bytes))
    }

    /// Runs a kernel.
    ///
    /// # Errors
    /// A shape that no device takes, or what the kernel does wrong; with kernel, line and thread.
    pub fn launch(&mut self, kernel: usize, shape: Shape, arguments: &[u8]) -> Result<()> {
        let program = self.program(kernel)?;
        let of = self.kernels.get_mut(&kernel).ok_or_else(|| unknown("kernel"))?;
        let (module, dynamic, spare) = (of.module, of.dynamic, std::mem::take(&mut of.spare));
        let name = &program.name;
        check_shape(&program, shape, dynamic)
            .map_err(|fault| fault.within(format_args!("launch of {name}")))?;
        let [[gx, gy, gz], [bx, by, bz]] = [shape.grid, shape.block];
        self.record.add(|| {
            format!("launch {name} grid=({gx},{gy},{gz}) block=({bx},{by},{bz}) shared={}", shape.dynamic)
        });
        let reverse = self.order == Order::Reverse;
        let mut block =
            Block::new(&program, &mut self.memory, arguments, shape, self.checks.shared, reverse, spare);
        let count = u64::from(gx) * u64::from(gy) * u64::from(gz);
        let shuffle = Shuffle::new(self.order, count);
        for position in 0..count {
            let index = shuffle.at(position);
            let (gx, gy) = (u64::from(gx), u64::from(gy));
            let coordinates = [(index % gx) as u32, (index / gx % gy) as u32, (index / (gx * gy)) as u32];
            if let Err(fault) = block.run(coordinates) {
                let at = block.at();
                let place = self.place(module, &program, shape, coordinates, at);
                return Err(fault.within(place));
            }
        }
        self.executed += block.executed;
        let spare = block.spare();
        if let Some(of) = self.kernels.get_mut(&kernel) {
            of.spare = spare;
        }
        Ok(())
    }

    /// Kernel, line, thread, for a message.
    fn place(&self, module: usize, program: &Program, shape: Shape, block: [u32; 3], at: At) -> String {
        let place = program.places.get(at.pc).copied().unwrap_or_default();
        let loaded = self.modules.get(&module);
        let line = loaded.and_then(|loaded| loaded.text.lines().nth((place.line as usize).saturating_sub(1)));
        let source = loaded.and_then(|loaded| loaded.module.files.get(&place.source.0));
        let source = source.map_or(String::new(), |file| format!(", {file}:{}", place.source.1));
        let thread = at.thread.map_or(String::new(), |thread| {
            let [bx, by, _] = shape.block;
            format!(", thread ({}, {}, {})", thread % bx, thread / bx % by, thread / (bx * by))
        });
        let [x, y, z] = block;
        format!(
            "kernel {}, block ({x}, {y}, {z}){thread}, line {} of the PTX{source}: `{}`",
            program.name,
            place.line,
            line.unwrap_or_default().trim()
        )
    }
}

fn unknown(what: &str) -> Fault {
    Fault::new(Kind::InvalidValue, format!("there is no {what} of this handle"))
}

fn value(text: String) -> Fault {
    Fault::new(Kind::InvalidValue, text)
}

fn check_shape(program: &Program, shape: Shape, dynamic: usize) -> Result<()> {
    let threads: u64 = shape.block.iter().map(|&extent| u64::from(extent)).product();
    let [x, y, z] = shape.block;
    if threads == 0 || threads > 1024 || x > 1024 || y > 1024 || z > 64 {
        return Err(value(format!("a block of ({x}, {y}, {z}) threads: at most 1024, and at least one")));
    }
    if let Some(most) = program.max_threads
        && threads > u64::from(most)
    {
        return Err(value(format!(
            "a block of {threads} threads, but the kernel is made for at most {most}"
        )));
    }
    let [x, y, z] = shape.grid;
    if x == 0 || y == 0 || z == 0 || x > i32::MAX as u32 || y > 65_535 || z > 65_535 {
        return Err(value(format!(
            "a grid of ({x}, {y}, {z}) blocks: at least one in each direction, at most 2147483647, 65535 and 65535"
        )));
    }
    let allowed = dynamic.max(SHARED.saturating_sub(program.shared));
    if shape.dynamic > allowed || (dynamic == SHARED && shape.dynamic + program.shared > SHARED) {
        return Err(value(format!(
            "{} bytes of dynamic and {} bytes of static shared memory: more than 49152 have to be allowed by \
             CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES",
            shape.dynamic, program.shared
        )));
    }
    Ok(())
}

/// A permutation of the blocks: multiplication by what has no divisor in common with their number.
struct Shuffle {
    count: u64,
    factor: u64,
    offset: u64,
    reverse: bool,
}

impl Shuffle {
    fn new(order: Order, count: u64) -> Self {
        let Order::Shuffled(seed) = order else {
            return Self { count, factor: 1, offset: 0, reverse: order == Order::Reverse };
        };
        let mixed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let divisor = |mut a: u64, mut b: u64| {
            while b != 0 {
                (a, b) = (b, a % b);
            }
            a
        };
        let mut factor = ((mixed >> 32) % count.max(1)) | 1;
        while divisor(factor, count) != 1 {
            factor += 2;
        }
        Self { count, factor, offset: mixed % count.max(1), reverse: false }
    }

    fn at(&self, position: u64) -> u64 {
        if self.reverse {
            return self.count - 1 - position;
        }
        let product = u128::from(position) * u128::from(self.factor) + u128::from(self.offset);
        (product % u128::from(self.count)) as u64
    }
}
