//! One fault of a configuration file, and several of them.
//!
//! Positions count from 1; columns count characters, as editors do.

use serde_spanned::Spanned;
use std::{collections::BTreeMap, fmt, ops::Range};

/// A text and what errors call it.
#[derive(Debug, Clone)]
pub struct Source {
    file: String,
    text: String,
}

impl Source {
    /// A text under a file's name.
    pub fn new(file: impl Into<String>, text: impl Into<String>) -> Self {
        Self { file: file.into(), text: text.into() }
    }

    /// Adds a fault for every name of a list of tables `[[what]]` that stands there
    /// already.
    pub fn names_once<'a>(
        &self,
        what: &str,
        names: impl IntoIterator<Item = &'a Spanned<String>>,
        faults: &mut Faults,
    ) {
        let mut seen: BTreeMap<&str, &Spanned<String>> = BTreeMap::new();
        for (at, name) in names.into_iter().enumerate() {
            if let Some(first) = seen.get(name.get_ref().as_str()) {
                let (line, _) = self.position(first.span().start);
                let message = format!("a {what} `{}` is in line {line} already", name.get_ref());
                let field = format!("{what}[{at}].name");
                faults.push(self.fault_at(name, field, message, "give each its own name"));
            } else {
                seen.insert(name.get_ref(), name);
            }
        }
    }

    /// What errors call it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The text itself.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of a byte offset, both from 1.
    #[must_use]
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset.min(self.text.len())).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }

    /// A fault at a place in this text; an empty `hint` means none.
    pub fn fault(
        &self,
        span: Range<usize>,
        field: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Fault {
        let (line, column) = self.position(span.start);
        Fault {
            file: self.file.clone(),
            line,
            column,
            field: field.into(),
            message: message.into(),
            hint: hint.into(),
            excerpt: self.excerpt(span),
        }
    }

    /// A fault at a value that knows where it stood; an empty `hint` means none.
    pub fn fault_at<T>(
        &self,
        value: &Spanned<T>,
        field: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Fault {
        self.fault(value.span(), field, message, hint)
    }

    /// A fault of the file as a whole (something it lacks).
    pub fn fault_of_file(
        &self,
        field: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Fault {
        Fault { excerpt: String::new(), ..self.fault(0..0, field, message, hint) }
    }

    /// The line with a caret under the span, as compilers draw it.
    fn excerpt(&self, span: Range<usize>) -> String {
        let (line, column) = self.position(span.start);
        let Some(content) = self.text.split('\n').nth(line - 1) else { return String::new() };
        let content = without_url_paths(content.trim_end_matches('\r'));
        let rest = content.chars().count().saturating_sub(column - 1);
        let marked = self.text.get(span).map_or(1, |text| text.chars().count());
        let carets = "^".repeat(marked.clamp(1, rest.max(1)));
        let margin = " ".repeat(line.to_string().len());
        let indent: String =
            content.chars().take(column - 1).map(|c| if c == '\t' { c } else { ' ' }).collect();
        format!("{margin} |\n{line} | {content}\n{margin} | {indent}{carets}")
    }
}

/// The line with stars for what follows the host in every URL: that part can be a
/// secret (a Slack webhook's), and errors end up in logs. The length stays.
fn without_url_paths(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + "://".len());
        let end = after
            .find(|c: char| matches!(c, '"' | '\'') || c.is_whitespace())
            .unwrap_or(after.len());
        let (url, behind) = after.split_at(end);
        // Names and passwords stand before an `@`.
        let host = if url.contains('@') { 0 } else { url.find(['/', '?']).unwrap_or(url.len()) };
        shown.push_str(before);
        shown.push_str(&url[..host]);
        shown.extend(url[host..].chars().map(|_| '*'));
        rest = behind;
    }
    shown + rest
}

/// One fault: `file:line:column: field: message; hint`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {}{message}{}", prefix(field), suffix(hint))]
pub struct Fault {
    /// What the file is called.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Where in the structure: `service[1].stop_timeout`; empty where none is known.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
    /// The line with a caret under the place; may be empty.
    pub excerpt: String,
}

fn prefix(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("{field}: ") }
}

fn suffix(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!("; {hint}") }
}

/// Several faults, in the order they were found. [`fmt::Display`] writes one a line;
/// the alternate form `{:#}` adds each one's excerpt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// No faults yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds one.
    pub fn push(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// Adds another file's.
    pub fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }

    /// `value` when there is no fault.
    ///
    /// # Errors
    /// The faults themselves, when there is one.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

impl FromIterator<Fault> for Faults {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        Self(faults.into_iter().collect())
    }
}

impl IntoIterator for Faults {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{fault}")?;
            if f.alternate() && !fault.excerpt.is_empty() {
                write!(f, "\n{}", fault.excerpt)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
