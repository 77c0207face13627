//! The top level of a module: variables, functions, kernels. Bodies are found, not yet read.

use std::collections::HashMap;

use super::token::{Kind, Token, tokens};
use crate::fault::{Fault, Result};

/// Where a variable lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Any of them, told apart by the address.
    Generic,
    /// Of the device.
    Global,
    /// Of the device, read only.
    Const,
    /// Of a block.
    Shared,
    /// Of a thread.
    Local,
    /// Arguments of a kernel or of a call.
    Param,
}

/// A declared variable or parameter.
#[derive(Debug, Clone)]
pub struct Variable<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it lives.
    pub space: Space,
    /// Its size in bytes; 0 for an array whose size comes with the launch.
    pub size: usize,
    /// A power of two.
    pub align: usize,
    /// Of `.extern`.
    pub external: bool,
    /// What it holds at first.
    pub values: Vec<Value<'a>>,
    /// Bytes of an element.
    pub element: usize,
}

/// An element of an initialiser.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// Its bits.
    Bits(u64),
    /// The address of a variable, with what is added to it.
    Address(&'a str, i64),
}

/// A function or kernel.
#[derive(Debug, Clone)]
pub struct Function<'a> {
    /// Its name.
    pub name: &'a str,
    /// It can be launched.
    pub kernel: bool,
    /// What it returns, at most one.
    pub results: Vec<Variable<'a>>,
    /// Its parameters in order.
    pub parameters: Vec<Variable<'a>>,
    /// The body without its braces and the line that it begins at; none for a declaration.
    pub body: Option<(&'a str, u32)>,
    /// Largest number of threads of a block by `.maxntid` or `.reqntid`.
    pub max_threads: Option<u32>,
}

/// A module.
#[derive(Debug, Default)]
pub struct Module<'a> {
    /// By name. A definition hides its declarations.
    pub functions: HashMap<&'a str, Function<'a>>,
    /// In order.
    pub variables: Vec<Variable<'a>>,
    /// Paths of source files by their number in `.loc`.
    pub files: HashMap<u32, &'a str>,
}

/// The size of a type's values in bytes, by its name without the dot.
pub fn size_of(type_name: &str) -> Option<usize> {
    Some(match type_name {
        "b8" | "u8" | "s8" => 1,
        "b16" | "u16" | "s16" | "f16" | "bf16" => 2,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" | "tf32" | "u16x2" | "s16x2" => 4,
        "b64" | "u64" | "s64" | "f64" => 8,
        "b128" => 16,
        _ => return None,
    })
}

/// A literal to its bits: whole numbers as they are, `0f` and `0d` as the bits that they give, decimal fractions as f64.
pub fn number(token: &Token<'_>) -> Result<u64> {
    let text = token.text;
    let digits = text.trim_end_matches(['U', 'u']);
    let parsed = match text.get(..2) {
        Some("0x" | "0X") => u64::from_str_radix(&digits[2..], 16).ok(),
        Some("0f" | "0F") => u32::from_str_radix(&text[2..], 16).ok().map(u64::from),
        Some("0d" | "0D") => u64::from_str_radix(&text[2..], 16).ok(),
        Some("0b" | "0B") => u64::from_str_radix(&digits[2..], 2).ok(),
        _ if text.contains('.') => text.parse().ok().map(f64::to_bits),
        _ if digits.len() > 1 && digits.starts_with('0') => u64::from_str_radix(digits, 8).ok(),
        _ => digits.parse().ok(),
    };
    parsed.ok_or_else(|| Fault::ptx(token.line, format!("`{text}` is no number")))
}

/// Steps over tokens.
#[derive(Debug)]
pub struct Cursor<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
    line: u32,
}

impl<'t, 'a> Cursor<'t, 'a> {
    /// At the first of them.
    pub fn new(tokens: &'t [Token<'a>], line: u32) -> Self {
        Self { tokens, at: 0, line }
    }

    /// The line that it stands in.
    pub fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(self.line, |token| token.line)
    }

    /// The token that it stands at.
    pub fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).copied()
    }

    /// Whether this punctuation comes next.
    pub fn at_mark(&self, mark: u8) -> bool {
        self.peek().is_some_and(|token| token.kind == Kind::Mark(mark))
    }

    /// Steps over this punctuation, if it comes next.
    pub fn take(&mut self, mark: u8) -> bool {
        let found = self.at_mark(mark);
        self.at += usize::from(found);
        found
    }

    /// Steps over this word, if it comes next.
    pub fn take_word(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.kind == Kind::Word && token.text == word);
        self.at += usize::from(found);
        found
    }

    /// The next token.
    pub fn next(&mut self) -> Result<Token<'a>> {
        let token = self.peek().ok_or_else(|| Fault::ptx(self.line(), "ends too early"))?;
        self.at += 1;
        Ok(token)
    }

    /// This punctuation must come next.
    pub fn mark(&mut self, mark: u8) -> Result<()> {
        if self.take(mark) {
            return Ok(());
        }
        let found = self.peek().map_or("the end", |token| token.text);
        Err(Fault::ptx(self.line(), format!("`{}` expected, `{found}` found", char::from(mark))))
    }

    /// The next token, a word.
    pub fn word(&mut self) -> Result<&'a str> {
        let token = self.next()?;
        if token.kind == Kind::Word {
            return Ok(token.text);
        }
        Err(Fault::ptx(token.line, format!("a name expected, `{}` found", token.text)))
    }

    /// A literal with its sign.
    pub fn signed(&mut self) -> Result<u64> {
        if self.take(b'-') {
            let token = self.next()?;
            let bits = number(&token)?;
            let fraction = token.text.contains('.') && !token.text.starts_with("0x");
            return Ok(if fraction { bits ^ (1 << 63) } else { bits.wrapping_neg() });
        }
        if self.take(b'+') {
            // `[a+-4]`
            return self.signed();
        }
        number(&self.next()?)
    }
}

fn space_of(word: &str) -> Option<Space> {
    Some(match word {
        ".global" => Space::Global,
        ".const" => Space::Const,
        ".shared" => Space::Shared,
        ".local" => Space::Local,
        ".param" => Space::Param,
        _ => return None,
    })
}

/// A declaration from its state space to its last token, without the semicolon.
pub fn variable<'a>(cursor: &mut Cursor<'_, 'a>, external: bool) -> Result<Variable<'a>> {
    let line = cursor.line();
    let mut space = Space::Global;
    let (mut align, mut element, mut vector) = (0, 0, 1);
    let name = loop {
        let word = cursor.word()?;
        if let Some(found) = space_of(word) {
            space = found;
        } else if word == ".align" {
            align = number(&cursor.next()?)? as usize;
        } else if word == ".attribute" {
            while !cursor.take(b')') {
                cursor.next()?;
            }
        } else if let Some(size) = word.strip_prefix('.').and_then(size_of) {
            element = size;
        } else if let Some(count) = word.strip_prefix(".v") {
            vector = count.parse().map_err(|_| Fault::ptx(line, format!("`{word}` is no vector")))?;
        } else if matches!(word, ".ptr" | ".volatile") {
        } else if word.starts_with('.') {
            // After `.ptr`, the state space that a parameter points to is no part of what is emulated.
            return Err(Fault::ptx(line, format!("`{word}` in a declaration is unknown")));
        } else {
            break word;
        }
        if word == ".ptr" {
            // `.ptr .global .align 16`: a remark about where the pointer points to.
            while cursor.peek().is_some_and(|token| token.text.starts_with('.')) {
                if cursor.word()? == ".align" {
                    cursor.next()?;
                }
            }
        }
    };
    if element == 0 {
        return Err(Fault::ptx(line, format!("`{name}` is of a type that is unknown")));
    }
    let mut length = Some(1);
    while cursor.take(b'[') {
        if cursor.take(b']') {
            length = None;
        } else {
            let extent = number(&cursor.next()?)? as usize;
            length = length.map(|length| length * extent);
            cursor.mark(b']')?;
        }
    }
    let mut values = Vec::new();
    if cursor.take(b'=') {
        initialiser(cursor, &mut values)?;
    }
    let length = length.unwrap_or(values.len());
    let size = element * vector * length;
    Ok(Variable { name, space, size, align: align.max(element * vector), external, values, element })
}

fn initialiser<'a>(cursor: &mut Cursor<'_, 'a>, values: &mut Vec<Value<'a>>) -> Result<()> {
    if cursor.take(b'{') {
        while !cursor.take(b'}') {
            initialiser(cursor, values)?;
            cursor.take(b',');
        }
        return Ok(());
    }
    let name = match cursor.peek() {
        Some(token) if token.kind == Kind::Word => cursor.word()?,
        _ => {
            values.push(Value::Bits(cursor.signed()?));
            return Ok(());
        }
    };
    let name = if name == "generic" {
        cursor.mark(b'(')?;
        let inner = cursor.word()?;
        cursor.mark(b')')?;
        inner
    } else {
        name
    };
    let offset = if cursor.at_mark(b'+') || cursor.at_mark(b'-') { cursor.signed()? as i64 } else { 0 };
    values.push(Value::Address(name, offset));
    Ok(())
}

fn parameters<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Vec<Variable<'a>>> {
    let mut found = Vec::new();
    if cursor.take(b'(') {
        while !cursor.take(b')') {
            found.push(variable(cursor, false)?);
            cursor.take(b',');
        }
    }
    Ok(found)
}

fn function<'a>(head: &'a str, line: u32, body: Option<(&'a str, u32)>) -> Result<Function<'a>> {
    let tokens = tokens(head, line)?;
    let mut cursor = Cursor::new(&tokens, line);
    let kernel = loop {
        match cursor.word()? {
            ".entry" => break true,
            ".func" => break false,
            _ => {}
        }
    };
    while cursor.take_word(".noreturn") {}
    let results = parameters(&mut cursor)?;
    let name = cursor.word()?;
    let parameters = parameters(&mut cursor)?;
    let mut max_threads = None;
    while cursor.peek().is_some() {
        let token = cursor.next()?;
        if matches!(token.text, ".maxntid" | ".reqntid") {
            let mut threads = cursor.signed()?;
            while cursor.take(b',') {
                threads *= cursor.signed()?;
            }
            max_threads = Some(threads as u32);
        }
    }
    Ok(Function { name, kernel, results, parameters, body, max_threads })
}

/// Finds what is declared in a module.
///
/// # Errors
/// What is no PTX.
pub fn module(text: &str) -> Result<Module<'_>> {
    let mut module = Module::default();
    let mut scan = Scan { text, at: 0, line: 1 };
    while let Some(item) = scan.item()? {
        let first = item.head.split_whitespace().next().unwrap_or_default();
        if item.is_function {
            let function = function(item.head, item.line, item.body)?;
            let declared = function.body.is_none();
            if !(declared && module.functions.contains_key(function.name)) {
                module.functions.insert(function.name, function);
            }
        } else if first == ".file" {
            let tokens = tokens(item.head, item.line)?;
            if let [_, index, path, ..] = &tokens[..] {
                module.files.insert(number(index)? as u32, path.text);
            }
        } else if !matches!(
            first,
            ".version" | ".target" | ".address_size" | ".section" | ".alias" | ".pragma"
        ) {
            let tokens = tokens(item.head, item.line)?;
            let mut cursor = Cursor::new(&tokens, item.line);
            let mut external = false;
            while let Some(token) = cursor.peek() {
                match token.text {
                    ".extern" => external = true,
                    ".visible" | ".weak" | ".common" => {}
                    _ => break,
                }
                cursor.next()?;
            }
            module.variables.push(variable(&mut cursor, external)?);
        }
    }
    Ok(module)
}

/// One declaration or definition.
struct Item<'a> {
    head: &'a str,
    body: Option<(&'a str, u32)>,
    line: u32,
    is_function: bool,
}

/// Steps over a module item by item, without making tokens of the bodies.
struct Scan<'a> {
    text: &'a str,
    at: usize,
    line: u32,
}

impl<'a> Scan<'a> {
    fn item(&mut self) -> Result<Option<Item<'a>>> {
        while let Some(byte) = self.skip_comment() {
            if !byte.is_ascii_whitespace() && byte != 0 && byte != b';' {
                break;
            }
            self.step(byte);
        }
        let Some(_) = self.skip_comment() else { return Ok(None) };
        let (start, line) = (self.at, self.line);
        let rest = &self.text[start..];
        if [".version", ".target", ".address_size", ".file"].iter().any(|word| rest.starts_with(word)) {
            let head = rest.lines().next().unwrap_or_default();
            self.at += head.len();
            return Ok(Some(Item { head, body: None, line, is_function: false }));
        }
        let end = rest.find(['{', ';']).unwrap_or(rest.len());
        let is_function = rest[..end]
            .split_whitespace()
            .take(6)
            .any(|word| word.starts_with(".entry") || word.starts_with(".func"));
        let mut depth = 0u32;
        let mut body = None;
        while let Some(byte) = self.skip_comment() {
            let here = self.at;
            self.step(byte);
            match byte {
                b'{' => {
                    if depth == 0 {
                        body = Some((here, self.at, self.line));
                    }
                    depth += 1;
                }
                b'}' => {
                    depth = depth.checked_sub(1).ok_or_else(|| Fault::ptx(self.line, "`}` without `{`"))?;
                    if depth == 0 && (is_function || rest.starts_with(".section")) {
                        let Some((open, inner, body_line)) = body else { continue };
                        let body = Some((&self.text[inner..here], body_line));
                        return Ok(Some(Item { head: &self.text[start..open], body, line, is_function }));
                    }
                }
                b';' if depth == 0 => {
                    return Ok(Some(Item { head: &self.text[start..here], body: None, line, is_function }));
                }
                _ => {}
            }
        }
        Err(Fault::ptx(line, "a declaration that does not end"))
    }

    /// The next byte that is not in a comment or a text; neither is stepped over.
    fn skip_comment(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        loop {
            let byte = *bytes.get(self.at)?;
            let end = match (byte, bytes.get(self.at + 1)) {
                (b'/', Some(b'/')) => self.text[self.at..].find('\n').unwrap_or(bytes.len() - self.at),
                (b'/', Some(b'*')) => {
                    self.text[self.at..].find("*/").map_or(bytes.len() - self.at, |length| length + 2)
                }
                (b'"', _) => {
                    self.text[self.at + 1..].find('"').map_or(bytes.len() - self.at, |length| length + 2)
                }
                _ => return Some(byte),
            };
            let skipped = &bytes[self.at..self.at + end];
            self.line += skipped.iter().filter(|&&byte| byte == b'\n').count() as u32;
            self.at += end;
        }
    }

    fn step(&mut self, byte: u8) {
        self.line += u32::from(byte == b'\n');
        self.at += 1;
    }
}
