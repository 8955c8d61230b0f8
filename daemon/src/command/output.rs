//! What a program wrote, bounded.

use super::OUTPUT_MAX;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The beginning of a program's output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// At most [`OUTPUT_MAX`] bytes, from the start.
    pub bytes: Vec<u8>,
    /// Bytes that came after those, and were dropped.
    pub dropped: u64,
}

impl Output {
    /// As text; what is not UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// As one line for a person: the last lines that fit into `max` characters,
    /// joined with ` / `, without control characters (a terminal would obey them).
    /// Empty when nothing was written.
    #[must_use]
    pub fn one_line(&self, max: usize) -> String {
        let text = self.text();
        let clean = |line: &str| -> String {
            let visible: String =
                line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            visible.trim().to_owned()
        };
        let lines: Vec<String> = text.lines().map(clean).filter(|line| !line.is_empty()).collect();
        let mut line = lines.join(" / ");
        let over = line.chars().count().saturating_sub(max);
        if over > 0 {
            let kept: String = line.chars().skip(over + 1).collect();
            line = format!("…{kept}");
        }
        if self.dropped > 0 {
            line.push_str(&format!(" ({} more bytes were dropped)", self.dropped));
        }
        line
    }

    /// Reads a pipe to its end. What was read stays when the future is dropped.
    pub(super) async fn drain(&mut self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(mut pipe) = pipe else { return };
        let mut buffer = vec![0; 8 * 1024];
        // An error of a pipe ends it as its end does.
        while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
            let room = OUTPUT_MAX.saturating_sub(self.bytes.len()).min(count);
            self.bytes.extend_from_slice(&buffer[..room]);
            self.dropped = self.dropped.saturating_add((count - room) as u64);
        }
    }
}
