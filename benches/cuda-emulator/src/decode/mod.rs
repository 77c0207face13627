//! From the text of a kernel to its instructions. Done once per kernel, when it is launched first; functions that it calls
//! become part of it.

mod compare;
mod convert;
mod elementwise;
mod memory;
mod opcode;
mod warp;

use std::collections::HashMap;

use crate::execute::lanes;
use crate::fault::{Fault, Kind, Result};
use crate::program::{Address, Carry, Condition, FALSE, Logic, Op, Place, Program, Reg, Special, TRUE};
use crate::ptx::body::{Instruction, Item, Operand, body};
use crate::ptx::module::{Function, Module, Space, Variable};
use elementwise::Elementwise;
use opcode::Opcode;

/// What generic addresses of a space begin with; those of the device are below all of them.
pub const SHARED_WINDOW: u64 = 1 << 60;
/// See [`SHARED_WINDOW`].
pub const LOCAL_WINDOW: u64 = 2 << 60;
/// See [`SHARED_WINDOW`].
pub const PARAM_WINDOW: u64 = 3 << 60;

/// What a name stands for.
#[derive(Debug, Clone, Copy)]
enum Name {
    Register(Reg),
    Predicate(Reg),
    Memory(Space, u64),
    /// Shared memory whose size comes with the launch.
    Dynamic,
}

#[derive(Debug, Default)]
struct Scope<'a> {
    names: HashMap<&'a str, Name>,
    /// `%r<8>`: the first register and how many there are.
    ranges: HashMap<&'a str, (Name, u32)>,
    labels: HashMap<&'a str, u32>,
    tables: HashMap<&'a str, Vec<&'a str>>,
    /// Jumps whose labels were not yet seen: instruction, place in its table, label.
    pending: Vec<(usize, usize, &'a str)>,
}

struct Decoder<'m, 'a> {
    module: &'m Module<'a>,
    globals: &'m HashMap<&'a str, u64>,
    program: Program,
    scopes: Vec<Scope<'a>>,
    constants: HashMap<u64, Reg>,
    /// Registers that hold where the dynamic shared memory begins, and what is added to it.
    dynamic: Vec<(Reg, i64)>,
    /// Shared variables of the module that were met.
    shared: HashMap<&'a str, u64>,
    /// Functions that are being read, outermost first.
    calls: Vec<&'a str>,
    place: Place,
    guard: Condition,
}

/// Where an inlined function returns to.
const RETURN: &str = "return";

const ALWAYS: Condition = Condition { register: TRUE, negated: false };

/// Reads a kernel.
///
/// # Errors
/// There is none of this name, or it has what is unknown.
pub fn decode<'a>(module: &Module<'a>, globals: &HashMap<&'a str, u64>, name: &str) -> Result<Program> {
    let function = module
        .functions
        .get(name)
        .filter(|function| function.kernel)
        .ok_or_else(|| Fault::new(Kind::NotFound, format!("the module has no kernel {name}")))?;
    let decoder = Decoder {
        module,
        globals,
        program: Program {
            name: name.to_owned(),
            ops: Vec::new(),
            guards: Vec::new(),
            places: Vec::new(),
            rows: Special::NAMES.len(),
            predicates: 2,
            granule: 16,
            constants: Vec::new(),
            local: 0,
            shared: 0,
            parameters: Vec::new(),
            parameter_bytes: 0,
            max_threads: function.max_threads,
        },
        scopes: vec![Scope::default()],
        constants: HashMap::new(),
        dynamic: Vec::new(),
        shared: HashMap::new(),
        calls: vec![function.name],
        place: Place::default(),
        guard: ALWAYS,
    };
    decoder.kernel(function).map_err(|fault| fault.within(format_args!("kernel {name}")))
}

impl<'m, 'a> Decoder<'m, 'a> {
    fn kernel(mut self, function: &Function<'a>) -> Result<Program> {
        let mut offset = 0usize;
        for parameter in &function.parameters {
            offset = offset.next_multiple_of(parameter.align);
            self.scope().names.insert(parameter.name, Name::Memory(Space::Param, offset as u64));
            self.program.parameters.push((offset, parameter.size));
            offset += parameter.size;
        }
        self.program.parameter_bytes = offset;
        self.body(function)?;
        self.guard = ALWAYS;
        self.emit(Op::Exit);
        let program = &mut self.program;
        program.shared = program.shared.next_multiple_of(16);
        program.constants = self.constants.iter().map(|(&bits, &register)| (register, bits)).collect();
        let base = program.shared as u64;
        program.constants.extend(
            self.dynamic.iter().map(|&(register, offset)| (register, base.wrapping_add_signed(offset))),
        );
        program.granule = program.ops.iter().filter_map(shared_access).min().unwrap_or(16).clamp(1, 16);
        Ok(self.program)
    }

    /// Reads a body into the scope that is open, and closes it.
    fn body(&mut self, function: &Function<'a>) -> Result<()> {
        let Some((text, line)) = function.body else {
            return Err(invalid(format!("{} has no body", function.name)));
        };
        for item in body(text, line)? {
            match item {
                Item::Open => self.scopes.push(Scope::default()),
                Item::Close => self.close(false)?,
                Item::Registers(type_name, name, count) => self.registers(type_name, name, count)?,
                Item::Variable(variable) => self.variable(&variable)?,
                Item::Label(name) => self.label(name),
                Item::Targets(name, targets) => {
                    self.scope().tables.insert(name, targets);
                }
                Item::Location(file, line) => self.place.source = (file, line),
                Item::Instruction(instruction) => {
                    self.place.line = instruction.line;
                    self.instruction(&instruction).map_err(|fault| match fault.kind {
                        Kind::InvalidPtx if !fault.text.starts_with("line ") => {
                            Fault::ptx(instruction.line, format!("`{}`: {}", instruction.opcode, fault.text))
                        }
                        _ => fault,
                    })?;
                }
            }
        }
        // What `ret` of a called function jumps to.
        self.guard = ALWAYS;
        self.label(RETURN);
        self.close(true)
    }

    fn scope(&mut self) -> &mut Scope<'a> {
        self.scopes.last_mut().expect("a body has a scope")
    }

    /// Leaves a scope: its jumps go to its labels, or to those around it.
    fn close(&mut self, last: bool) -> Result<()> {
        let scope = self.scopes.pop().ok_or_else(|| Fault::ptx(self.place.line, "`}` without `{`"))?;
        for (op, entry, label) in scope.pending {
            if let Some(&target) = scope.labels.get(label) {
                self.resolve(op, entry, target);
            } else if last {
                return Err(Fault::ptx(self.program.places[op].line, format!("there is no label {label}")));
            } else {
                self.scope().pending.push((op, entry, label));
            }
        }
        Ok(())
    }

    fn resolve(&mut self, op: usize, entry: usize, target: u32) {
        match &mut self.program.ops[op] {
            Op::Jump(to) => *to = target,
            Op::JumpTable { table, .. } => table[entry] = target,
            other => unreachable!("{other:?} does not jump"),
        }
    }

    fn label(&mut self, name: &'a str) {
        let here = self.program.ops.len() as u32;
        self.scope().labels.insert(name, here);
    }

    fn registers(&mut self, type_name: &str, name: &'a str, count: Option<u32>) -> Result<()> {
        let number = count.unwrap_or(1);
        let of = if type_name == ".pred" {
            let first = self.program.predicates;
            self.program.predicates += number as usize;
            Name::Predicate(first as Reg)
        } else {
            let first = self.program.rows;
            self.program.rows += number as usize;
            Name::Register(first as Reg)
        };
        if self.program.rows.max(self.program.predicates) > usize::from(Reg::MAX) {
            return Err(Fault::ptx(self.place.line, "more registers than the emulator can number"));
        }
        match count {
            Some(count) => self.scope().ranges.insert(name, (of, count)).map(|_| ()),
            None => self.scope().names.insert(name, of).map(|_| ()),
        };
        Ok(())
    }

    fn variable(&mut self, variable: &Variable<'a>) -> Result<()> {
        let name = match variable.space {
            Space::Local | Space::Param => {
                Name::Memory(Space::Local, self.in_local(variable.size, variable.align))
            }
            Space::Shared if variable.external || variable.size == 0 => Name::Dynamic,
            Space::Shared => Name::Memory(Space::Shared, self.in_shared(variable)),
            _ => {
                return Err(Fault::ptx(self.place.line, format!("`{}` in a body is unknown", variable.name)));
            }
        };
        self.scope().names.insert(variable.name, name);
        Ok(())
    }

    fn in_local(&mut self, size: usize, align: usize) -> u64 {
        let offset = self.program.local.next_multiple_of(align.max(8));
        self.program.local = offset + size;
        offset as u64
    }

    fn in_shared(&mut self, variable: &Variable<'a>) -> u64 {
        let offset = self.program.shared.next_multiple_of(variable.align);
        self.program.shared = offset + variable.size;
        offset as u64
    }

    fn emit(&mut self, op: Op) {
        self.program.ops.push(op);
        self.program.guards.push(self.guard);
        self.program.places.push(self.place);
    }

    fn constant(&mut self, bits: u64) -> Reg {
        let rows = &mut self.program.rows;
        *self.constants.entry(bits).or_insert_with(|| {
            *rows += 1;
            (*rows - 1) as Reg
        })
    }

    fn find(&mut self, name: &'a str) -> Result<Name> {
        for scope in self.scopes.iter().rev() {
            if let Some(found) = scope.names.get(name) {
                return Ok(*found);
            }
            let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
            if let (Some(&(first, count)), Ok(index)) =
                (scope.ranges.get(prefix), name[prefix.len()..].parse::<u32>())
                && index < count
            {
                return Ok(match first {
                    Name::Register(first) => Name::Register(first + index as Reg),
                    Name::Predicate(first) => Name::Predicate(first + index as Reg),
                    other => other,
                });
            }
        }
        if let Some(register) = Special::register(name) {
            return Ok(Name::Register(register));
        }
        if let Some(&offset) = self.shared.get(name) {
            return Ok(Name::Memory(Space::Shared, offset));
        }
        let module = self.module;
        if let Some(variable) = module.variables.iter().find(|variable| variable.name == name) {
            return Ok(match variable.space {
                Space::Shared if variable.external || variable.size == 0 => Name::Dynamic,
                Space::Shared => {
                    let offset = self.in_shared(variable);
                    self.shared.insert(variable.name, offset);
                    Name::Memory(Space::Shared, offset)
                }
                _ => Name::Memory(Space::Global, self.globals.get(name).copied().unwrap_or(0)),
            });
        }
        Err(invalid(format!("`{name}` is not declared")))
    }

    fn register(&mut self, name: &'a str) -> Result<Reg> {
        match self.find(name)? {
            Name::Register(register) => Ok(register),
            _ => Err(invalid(format!("`{name}` is no register"))),
        }
    }

    /// A register that is written; `_` is one that nobody reads.
    fn destination(&mut self, operand: &Operand<'a>) -> Result<Reg> {
        match operand {
            Operand::Word("_") => {
                self.program.rows += 1;
                Ok((self.program.rows - 1) as Reg)
            }
            Operand::Word(name) => self.register(name),
            _ => Err(invalid("a register expected")),
        }
    }

    fn predicate_destination(&mut self, name: &'a str) -> Result<Reg> {
        if name == "_" {
            self.program.predicates += 1;
            return Ok((self.program.predicates - 1) as Reg);
        }
        match self.find(name)? {
            Name::Predicate(register) => Ok(register),
            _ => Err(invalid(format!("`{name}` is no predicate"))),
        }
    }

    /// An operand that is read.
    fn value(&mut self, operand: &Operand<'a>, type_name: &str) -> Result<Reg> {
        match *operand {
            Operand::Word("WARP_SZ") => Ok(self.constant(32)),
            Operand::Word(name) | Operand::Offset(name, _) => {
                let offset = if let Operand::Offset(_, offset) = *operand { offset } else { 0 };
                match self.find(name)? {
                    Name::Register(register) if offset == 0 => Ok(register),
                    Name::Memory(_, address) => Ok(self.constant(address.wrapping_add_signed(offset))),
                    Name::Dynamic => {
                        self.program.rows += 1;
                        let register = (self.program.rows - 1) as Reg;
                        self.dynamic.push((register, offset));
                        Ok(register)
                    }
                    _ => Err(invalid(format!("`{name}` is no value here"))),
                }
            }
            Operand::Bits(bits) => Ok(self.constant(bits)),
            Operand::Decimal(x) if type_name == "f64" => Ok(self.constant(x.to_bits())),
            Operand::Decimal(x) => Ok(self.constant(u64::from((x as f32).to_bits()))),
            _ => Err(invalid("a register or a literal expected")),
        }
    }

    fn condition(&mut self, operand: &Operand<'a>) -> Result<Condition> {
        let (name, negated) = match *operand {
            Operand::Word(name) => (name, false),
            Operand::Not(name) => (name, true),
            Operand::Bits(bits) => {
                let register = if bits == 0 { FALSE } else { TRUE };
                return Ok(Condition { register, negated: false });
            }
            _ => return Err(invalid("a predicate expected")),
        };
        match self.find(name)? {
            Name::Predicate(register) => Ok(Condition { register, negated }),
            _ => Err(invalid(format!("`{name}` is no predicate"))),
        }
    }

    fn address(&mut self, operand: &Operand<'a>, space: Space) -> Result<Address> {
        let Operand::Address(name, offset) = *operand else { return Err(invalid("an address expected")) };
        let Some(name) = name else {
            return Ok(Address { space, base: self.constant(0), offset });
        };
        Ok(match self.find(name)? {
            Name::Register(base) => Address { space, base, offset },
            // What a call passes lies in the thread's own memory.
            Name::Memory(of, address) => {
                let space = if matches!(space, Space::Param | Space::Generic) { of } else { space };
                Address { space, base: self.constant(address), offset }
            }
            Name::Dynamic => {
                let base = self.value(&Operand::Word(name), "b64")?;
                Address { space: Space::Shared, base, offset }
            }
            Name::Predicate(_) => return Err(invalid(format!("`{name}` is no address"))),
        })
    }

    fn instruction(&mut self, instruction: &Instruction<'a>) -> Result<()> {
        self.guard = match instruction.guard {
            Some((name, negated)) => {
                let condition = self.condition(&Operand::Word(name))?;
                Condition { negated, ..condition }
            }
            None => ALWAYS,
        };
        let op = Opcode::new(instruction.opcode);
        let operands = &instruction.operands[..];
        if let Some(decoded) = self.control(&op, operands)? {
            self.emit(decoded);
            return Ok(());
        }
        match op.base() {
            "call" => return self.call(operands),
            "ret" if self.calls.len() > 1 => return self.jump(RETURN),
            "bra" => {
                let [Operand::Word(label)] = operands else { return Err(invalid("a label expected")) };
                return self.jump(label);
            }
            "brx" => return self.jump_table(operands),
            _ => {}
        }
        let known = match self.of_memory(&op, operands)? {
            Some(decoded) => Some(decoded),
            None => match self.of_warp(&op, operands)? {
                Some(decoded) => Some(decoded),
                None => self.arithmetic(&op, operands)?,
            },
        };
        let decoded = known.ok_or_else(|| invalid("this instruction is unknown to the emulator"))?;
        self.emit(decoded);
        Ok(())
    }

    fn control(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<Option<Op>> {
        Ok(Some(match op.base() {
            "exit" => Op::Exit,
            "ret" if self.calls.len() == 1 => Op::Exit,
            "trap" => Op::Trap,
            "membar" | "fence" | "prefetch" | "prefetchu" | "nanosleep" | "discard" | "applypriority"
            | "griddepcontrol" | "brkpt" => Op::Nothing,
            "setp" => {
                let (p, q) = self.pair(operands.first())?;
                let (a, b) =
                    (self.value(at(operands, 1)?, op.last())?, self.value(at(operands, 2)?, op.last())?);
                let logic = op.modifiers().iter().find_map(|modifier| logic(modifier));
                let with = match (logic, operands.get(3)) {
                    (Some(logic), Some(operand)) => Some((logic, self.condition(operand)?)),
                    _ => None,
                };
                let holds = compare::comparison(op.parts[1], op.last())
                    .ok_or_else(|| invalid("unknown comparison"))?;
                Op::Compare { holds, p, q, a, b, with }
            }
            "testp" | "isspacep" => {
                let (p, q) = self.pair(operands.first())?;
                let a = self.value(at(operands, 1)?, op.last())?;
                let holds = warp::test(op).ok_or_else(|| invalid("unknown test"))?;
                Op::Compare { holds, p, q, a, b: a, with: None }
            }
            "selp" => Op::Select {
                d: self.destination(at(operands, 0)?)?,
                a: self.value(at(operands, 1)?, op.last())?,
                b: self.value(at(operands, 2)?, op.last())?,
                by: self.condition(at(operands, 3)?)?,
            },
            "and" | "or" | "xor" | "not" | "mov" if op.last() == "pred" => {
                let Operand::Word(name) = at(operands, 0)? else {
                    return Err(invalid("a predicate expected"));
                };
                let p = self.predicate_destination(name)?;
                let mut a = self.condition(at(operands, 1)?)?;
                a.negated ^= op.base() == "not";
                let b = if operands.len() > 2 { self.condition(&operands[2])? } else { ALWAYS };
                Op::Predicate { logic: logic(op.base()).unwrap_or(Logic::And), p, a, b }
            }
            _ => return Ok(None),
        }))
    }

    /// The destination `p` or `p|q` of a comparison.
    fn pair(&mut self, operand: Option<&Operand<'a>>) -> Result<(Reg, Reg)> {
        match operand {
            Some(Operand::Word(p)) => Ok((self.predicate_destination(p)?, self.predicate_destination("_")?)),
            Some(Operand::Pair(p, q)) => Ok((self.predicate_destination(p)?, self.predicate_destination(q)?)),
            _ => Err(invalid("a predicate expected")),
        }
    }

    fn arithmetic(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<Option<Op>> {
        let ty = op.last();
        if op.base() == "mov" {
            let width = crate::ptx::module::size_of(ty).unwrap_or(8) as u32 * 8;
            if let Operand::List(list) = at(operands, 1)? {
                let from = list.iter().map(|part| self.value(part, ty)).collect::<Result<Box<[_]>>>()?;
                let width = width / from.len() as u32;
                return Ok(Some(Op::Pack { d: self.destination(&operands[0])?, from, width }));
            }
            if let Operand::List(list) = at(operands, 0)? {
                let to = list
                    .iter()
                    .map(|part| match part {
                        Operand::Word("_") => Ok(None),
                        _ => self.destination(part).map(Some),
                    })
                    .collect::<Result<Box<[_]>>>()?;
                let width = width / to.len() as u32;
                return Ok(Some(Op::Unpack { to, a: self.value(&operands[1], ty)?, width }));
            }
        }
        if op.base() == "cvta" {
            return self.convert_address(op, operands).map(Some);
        }
        if op.has("cc") || matches!(op.base(), "addc" | "subc" | "madc") {
            return self.carry(op, operands).map(Some);
        }
        let Some(function) = elementwise::elementwise(op) else { return Ok(None) };
        let d = self.destination(at(operands, 0)?)?;
        let mut from = [0; 4];
        let wanted = match function {
            Elementwise::One(_) => 1,
            Elementwise::Two(_) => 2,
            Elementwise::Three(_) => 3,
            Elementwise::Four(_) => 4,
        };
        if operands.len() != wanted + 1 {
            return Err(invalid(format!("{wanted} operands expected, {} found", operands.len() - 1)));
        }
        for (register, operand) in from.iter_mut().zip(&operands[1..]) {
            *register = self.value(operand, ty)?;
        }
        let [a, b, c, _] = from;
        Ok(Some(match function {
            Elementwise::One(f) => Op::One(f, d, a),
            Elementwise::Two(f) => Op::Two(f, d, a, b),
            Elementwise::Three(f) => Op::Three(f, d, a, b, c),
            Elementwise::Four(f) => Op::Four(f, d, from),
        }))
    }

    fn convert_address(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<Op> {
        let window = match () {
            () if op.has("shared") || op.has("shared::cta") => SHARED_WINDOW,
            () if op.has("local") => LOCAL_WINDOW,
            () if op.has("param") => PARAM_WINDOW,
            () => 0,
        };
        let d = self.destination(at(operands, 0)?)?;
        let a = self.value(at(operands, 1)?, "u64")?;
        let window = self.constant(if op.has("to") { window.wrapping_neg() } else { window });
        Ok(Op::Two(|rows, mask, d, a, b| lanes::two(rows, mask, d, a, b, u64::wrapping_add), d, a, window))
    }

    fn carry(&mut self, op: &Opcode<'a>, operands: &[Operand<'a>]) -> Result<Op> {
        let wide = matches!(op.last(), "u64" | "s64" | "b64");
        let function = match (op.base(), op.has("hi"), wide) {
            ("add" | "addc", _, false) => Carry::Add32,
            ("sub" | "subc", _, false) => Carry::Sub32,
            ("mad" | "madc", false, false) => Carry::MadLow32,
            ("mad" | "madc", true, false) if op.last() == "u32" => Carry::MadHigh32,
            ("add" | "addc", _, true) => Carry::Add64,
            ("sub" | "subc", _, true) => Carry::Sub64,
            ("mad" | "madc", false, true) => Carry::MadLow64,
            ("mad" | "madc", true, true) if op.last() == "u64" => Carry::MadHigh64,
            _ => return Err(invalid("this instruction is unknown to the emulator")),
        };
        let d = self.destination(at(operands, 0)?)?;
        let a = self.value(at(operands, 1)?, op.last())?;
        let b = self.value(at(operands, 2)?, op.last())?;
        let c = if operands.len() > 3 { self.value(&operands[3], op.last())? } else { a };
        Ok(Op::Carry { function, d, a, b, c, reads: op.base().ends_with('c'), writes: op.has("cc") })
    }

    fn jump(&mut self, label: &'a str) -> Result<()> {
        let op = self.program.ops.len();
        self.emit(Op::Jump(u32::MAX));
        self.scope().pending.push((op, 0, label));
        Ok(())
    }

    fn jump_table(&mut self, operands: &[Operand<'a>]) -> Result<()> {
        let index = self.value(at(operands, 0)?, "u32")?;
        let Operand::Word(name) = at(operands, 1)? else { return Err(invalid("a list of targets expected")) };
        let labels = self.scopes.iter().rev().find_map(|scope| scope.tables.get(name)).cloned();
        let labels = labels.ok_or_else(|| invalid(format!("there is no list of targets {name}")))?;
        let op = self.program.ops.len();
        self.emit(Op::JumpTable { table: vec![u32::MAX; labels.len()].into(), index });
        self.scope().pending.extend(labels.into_iter().enumerate().map(|(entry, label)| (op, entry, label)));
        Ok(())
    }

    /// A function that is called becomes part of the caller, its parameters the variables that are passed.
    fn call(&mut self, operands: &[Operand<'a>]) -> Result<()> {
        let (results, rest) = match operands {
            [Operand::List(results), rest @ ..] => (&results[..], rest),
            rest => (&[][..], rest),
        };
        let (name, arguments) = match rest {
            [Operand::Word(name), Operand::List(arguments), ..] => (*name, &arguments[..]),
            [Operand::Word(name)] => (*name, &[][..]),
            _ => return Err(invalid("the name of a function expected")),
        };
        let module = self.module;
        let function = module.functions.get(name).ok_or_else(|| {
            invalid(format!("{name} is no function: calls through pointers are unknown to the emulator"))
        })?;
        let slots =
            |decoder: &mut Self, operands: &[Operand<'a>], parameters: &[Variable<'a>]| -> Result<Vec<_>> {
                if operands.len() != parameters.len() {
                    return Err(invalid(format!("{name} takes {} arguments", parameters.len())));
                }
                operands
                    .iter()
                    .zip(parameters)
                    .map(|(operand, parameter)| match operand {
                        Operand::Word(word) => Ok((parameter.name, decoder.find(word)?)),
                        _ => Err(invalid("a variable expected")),
                    })
                    .collect()
            };
        let mut names = slots(self, results, &function.results)?;
        names.extend(slots(self, arguments, &function.parameters)?);
        if function.body.is_none() {
            return self.call_external(name, &names);
        }
        if self.calls.contains(&name) {
            return Err(invalid(format!("{name} calls itself, which the emulator does not do")));
        }
        // Lanes that do not call go past all of it.
        let guard = self.guard;
        let past = self.program.ops.len();
        if (guard.register, guard.negated) != (TRUE, false) {
            self.guard = Condition { negated: !guard.negated, ..guard };
            self.emit(Op::Jump(u32::MAX));
        }
        let place = self.place;
        self.calls.push(function.name);
        self.scopes.push(Scope { names: names.into_iter().collect(), ..Scope::default() });
        self.body(function)?;
        self.calls.pop();
        self.place = place;
        if (guard.register, guard.negated) != (TRUE, false) {
            let here = self.program.ops.len() as u32;
            self.resolve(past, 0, here);
        }
        Ok(())
    }

    fn call_external(&mut self, name: &str, names: &[(&str, Name)]) -> Result<()> {
        if name != "__assertfail" {
            self.emit(Op::Unknown(format!("a call of {name}, which has no body").into()));
            return Ok(());
        }
        let mut slots = Vec::new();
        for (_, slot) in names {
            let Name::Memory(space, address) = *slot else { return Err(invalid("a variable expected")) };
            slots.push(Address { space, base: self.constant(address), offset: 0 });
        }
        let [message, file, line, function, ..] = slots[..] else {
            return Err(invalid("__assertfail takes five arguments"));
        };
        self.emit(Op::Assert { message, file, line, function });
        Ok(())
    }
}

/// Bytes that an instruction touches of shared memory at once, if it may.
fn shared_access(op: &Op) -> Option<usize> {
    let of = |at: &Address, size: u8| {
        matches!(at.space, Space::Shared | Space::Generic).then_some(usize::from(size))
    };
    match op {
        Op::Load { at, size, .. } | Op::Store { at, size, .. } => of(at, *size),
        Op::Atomic { at, number, .. } => of(at, number.size() as u8),
        Op::Copy { size, .. } => Some(usize::from(*size)),
        _ => None,
    }
}

fn logic(name: &str) -> Option<Logic> {
    Some(match name {
        "and" => Logic::And,
        "or" => Logic::Or,
        "xor" => Logic::Xor,
        _ => return None,
    })
}

fn invalid(text: impl Into<String>) -> Fault {
    Fault::new(Kind::InvalidPtx, text)
}

fn at<'o, 'a>(operands: &'o [Operand<'a>], index: usize) -> Result<&'o Operand<'a>> {
    operands.get(index).ok_or_else(|| invalid("an operand is missing"))
}
