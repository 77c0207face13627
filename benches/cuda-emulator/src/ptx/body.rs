//! The body of a function: its declarations, labels and instructions in order.

use super::module::{Cursor, Variable, variable};
use super::token::{Kind, tokens};
use crate::fault::{Fault, Result};

/// One thing in a body.
#[derive(Debug, Clone)]
pub enum Item<'a> {
    /// `{`
    Open,
    /// `}`
    Close,
    /// `.reg`: the type, a name, how many of it where they are counted.
    Registers(&'a str, &'a str, Option<u32>),
    /// A variable of the body.
    Variable(Variable<'a>),
    /// A place to jump to.
    Label(&'a str),
    /// The targets of a `brx`, by their label.
    Targets(&'a str, Vec<&'a str>),
    /// `.loc`: file, line.
    Location(u32, u32),
    /// An instruction.
    Instruction(Instruction<'a>),
}

/// An instruction as it is written.
#[derive(Debug, Clone)]
pub struct Instruction<'a> {
    /// Its line in the module.
    pub line: u32,
    /// The predicate that guards it, and whether it is negated.
    pub guard: Option<(&'a str, bool)>,
    /// Opcode and modifiers.
    pub opcode: &'a str,
    /// Its operands.
    pub operands: Vec<Operand<'a>>,
}

/// An operand.
#[derive(Debug, Clone)]
pub enum Operand<'a> {
    /// A register, a variable, a label.
    Word(&'a str),
    /// `!p`
    Not(&'a str),
    /// A literal: its bits.
    Bits(u64),
    /// A literal with a decimal point.
    Decimal(f64),
    /// `name+4`
    Offset(&'a str, i64),
    /// `[name+4]`; without a name, `[4]`.
    Address(Option<&'a str>, i64),
    /// `{a, b}`, or `(a, b)` in a call.
    List(Vec<Operand<'a>>),
    /// `a|b`
    Pair(&'a str, &'a str),
}

fn operand<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Operand<'a>> {
    let Some(token) = cursor.peek() else { return Err(Fault::ptx(cursor.line(), "an operand is missing")) };
    match token.kind {
        Kind::Mark(b'!') => {
            cursor.next()?;
            Ok(Operand::Not(cursor.word()?))
        }
        Kind::Mark(open @ (b'{' | b'(')) => {
            cursor.next()?;
            let close = if open == b'{' { b'}' } else { b')' };
            let mut list = Vec::new();
            while !cursor.take(close) {
                list.push(operand(cursor)?);
                cursor.take(b',');
            }
            Ok(Operand::List(list))
        }
        Kind::Mark(b'[') => {
            cursor.next()?;
            let name = match cursor.peek() {
                Some(token) if token.kind == Kind::Word => Some(cursor.word()?),
                _ => None,
            };
            let offset = if cursor.at_mark(b']') { 0 } else { cursor.signed()? as i64 };
            cursor.mark(b']')?;
            Ok(Operand::Address(name, offset))
        }
        Kind::Word => {
            let name = cursor.word()?;
            if cursor.take(b'|') {
                return Ok(Operand::Pair(name, cursor.word()?));
            }
            if cursor.at_mark(b'+') || cursor.at_mark(b'-') {
                return Ok(Operand::Offset(name, cursor.signed()? as i64));
            }
            Ok(Operand::Word(name))
        }
        _ => {
            let bits = cursor.signed()?;
            let text = if token.kind == Kind::Number { token.text } else { "" };
            Ok(if text.contains('.') { Operand::Decimal(f64::from_bits(bits)) } else { Operand::Bits(bits) })
        }
    }
}

/// Reads a body that begins at `line`.
///
/// # Errors
/// What is no PTX.
pub fn body(text: &str, line: u32) -> Result<Vec<Item<'_>>> {
    let tokens = tokens(text, line)?;
    let mut cursor = Cursor::new(&tokens, line);
    let mut items = Vec::new();
    while let Some(token) = cursor.peek() {
        match (token.kind, token.text) {
            (Kind::Mark(b'{'), _) => {
                cursor.next()?;
                items.push(Item::Open);
            }
            (Kind::Mark(b'}'), _) => {
                cursor.next()?;
                items.push(Item::Close);
            }
            (Kind::Mark(b';'), _) => {
                cursor.next()?;
            }
            (_, ".reg") => registers(&mut cursor, &mut items)?,
            (_, ".loc") => {
                cursor.next()?;
                let (file, line) = (cursor.signed()? as u32, cursor.signed()? as u32);
                cursor.signed()?;
                // `, function_name $L__info_string0, inlined_at 1 20 3`
                while cursor.take(b',') {
                    let what = cursor.word()?;
                    if what == "function_name" {
                        cursor.word()?;
                        if cursor.take(b'+') {
                            cursor.next()?;
                        }
                    } else {
                        for _ in 0..3 {
                            cursor.signed()?;
                        }
                    }
                }
                items.push(Item::Location(file, line));
            }
            (_, ".pragma") => {
                while !cursor.take(b';') {
                    cursor.next()?;
                }
            }
            (_, ".extern" | ".shared" | ".local" | ".param" | ".global" | ".const") => {
                let external = cursor.take_word(".extern");
                let variable = variable(&mut cursor, external)?;
                cursor.mark(b';')?;
                items.push(Item::Variable(variable));
            }
            _ => statement(&mut cursor, &mut items)?,
        }
    }
    Ok(items)
}

fn registers<'a>(cursor: &mut Cursor<'_, 'a>, items: &mut Vec<Item<'a>>) -> Result<()> {
    cursor.next()?;
    let type_name = cursor.word()?;
    loop {
        let name = cursor.word()?;
        let count = if cursor.take(b'<') {
            let count = cursor.signed()? as u32;
            cursor.mark(b'>')?;
            Some(count)
        } else {
            None
        };
        items.push(Item::Registers(type_name, name, count));
        if !cursor.take(b',') {
            break;
        }
    }
    cursor.mark(b';')
}

fn statement<'a>(cursor: &mut Cursor<'_, 'a>, items: &mut Vec<Item<'a>>) -> Result<()> {
    let line = cursor.line();
    let guard = if cursor.take(b'@') {
        let negated = cursor.take(b'!');
        Some((cursor.word()?, negated))
    } else {
        None
    };
    let opcode = cursor.word()?;
    if guard.is_none() && cursor.take(b':') {
        if cursor.take_word(".branchtargets") {
            let mut targets = vec![cursor.word()?];
            while cursor.take(b',') {
                targets.push(cursor.word()?);
            }
            cursor.mark(b';')?;
            items.push(Item::Targets(opcode, targets));
        } else if cursor.take_word(".callprototype") || cursor.take_word(".calltargets") {
            while !cursor.take(b';') {
                cursor.next()?;
            }
        } else {
            items.push(Item::Label(opcode));
        }
        return Ok(());
    }
    let mut operands = Vec::new();
    while !cursor.take(b';') {
        operands.push(operand(cursor)?);
        if !cursor.take(b',') {
            cursor.mark(b';')?;
            break;
        }
    }
    items.push(Item::Instruction(Instruction { line, guard, opcode, operands }));
    Ok(())
}
