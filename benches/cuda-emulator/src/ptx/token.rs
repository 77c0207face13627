//! Text of PTX to tokens.

use crate::fault::{Fault, Result};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An opcode with its modifiers, a directive, a register, a name.
    Word,
    /// A literal that begins with a digit.
    Number,
    /// What stands between quotation marks.
    Text,
    /// One character of punctuation.
    Mark(u8),
}

/// A token and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its characters.
    pub text: &'a str,
    /// Its line in the module, from one.
    pub line: u32,
}

fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'%' | b'.')
}

/// All tokens of a text that begins at `line`.
///
/// # Errors
/// A comment or a text that does not end, a character that is none of PTX.
pub fn tokens(text: &str, mut line: u32) -> Result<Vec<Token<'_>>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (start, first) = (at, bytes[at]);
        match first {
            b'\n' => {
                line += 1;
                at += 1;
            }
            b' ' | b'\t' | b'\r' => at += 1,
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += bytes[at..].iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len() - at);
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                let end =
                    text[at..].find("*/").ok_or_else(|| Fault::ptx(line, "a comment that does not end"))?;
                line += bytes[at..at + end].iter().filter(|&&byte| byte == b'\n').count() as u32;
                at += end + 2;
            }
            b'"' => {
                let end =
                    text[at + 1..].find('"').ok_or_else(|| Fault::ptx(line, "a text that does not end"))?;
                at += end + 2;
                found.push(Token { kind: Kind::Text, text: &text[start + 1..at - 1], line });
            }
            _ if in_word(first) => {
                // `L2::128B` is one word, `label:` is not.
                while at < bytes.len()
                    && (in_word(bytes[at]) || (bytes[at] == b':' && bytes.get(at + 1) == Some(&b':')))
                {
                    at += if bytes[at] == b':' { 2 } else { 1 };
                }
                let kind = if first.is_ascii_digit() { Kind::Number } else { Kind::Word };
                found.push(Token { kind, text: &text[start..at], line });
            }
            _ if first.is_ascii_punctuation() => {
                at += 1;
                found.push(Token { kind: Kind::Mark(first), text: &text[start..at], line });
            }
            _ => return Err(Fault::ptx(line, "a character that is none of PTX")),
        }
    }
    Ok(found)
}
