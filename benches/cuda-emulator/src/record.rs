//! What the device was asked to do, in order.

use std::fs::File;
use std::io::Write as _;

/// A line for each launch, copy and product.
#[derive(Debug, Default)]
pub struct Record {
    file: Option<File>,
    lines: Option<String>,
}

impl Record {
    /// Writes to this file too, if it can be made.
    pub fn to_file(path: &std::path::Path) -> Self {
        let file = File::options().create(true).append(true).open(path);
        if let Err(error) = &file {
            eprintln!("cuda-emulator: EMULATED_RECORD: {}: {error}", path.display());
        }
        Self { file: file.ok(), lines: None }
    }

    /// Begins anew, for a test in this process.
    pub fn start(&mut self) {
        self.lines = Some(String::new());
    }

    /// What there was since it began, which ends it.
    pub fn take(&mut self) -> String {
        self.lines.take().unwrap_or_default()
    }

    /// What there was so far.
    pub fn peek(&self) -> &str {
        self.lines.as_deref().unwrap_or_default()
    }

    /// Adds a line.
    pub fn add(&mut self, line: impl FnOnce() -> String) {
        if self.file.is_none() && self.lines.is_none() {
            return;
        }
        let mut line = line();
        line.push('\n');
        if let Some(file) = &mut self.file {
            let _ = file.write_all(line.as_bytes());
        }
        if let Some(lines) = &mut self.lines {
            lines.push_str(&line);
        }
    }
}
