//! Parts of a text, cut between two characters.

/// The first `bytes` of `text` at most.
pub fn start(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

/// The last `bytes` of `text` at most.
pub fn end(text: &str, bytes: usize) -> &str {
    let start = (text.len().saturating_sub(bytes)..text.len()).find(|at| text.is_char_boundary(*at));
    &text[start.unwrap_or(text.len())..]
}

#[cfg(test)]
mod tests {
    use super::{end, start};

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!([0, 1, 2, 3, 4, 5].map(|bytes| start("äö", bytes)), ["", "", "ä", "ä", "äö", "äö"]);
        assert_eq!([0, 1, 2, 3, 4, 5].map(|bytes| end("äö", bytes)), ["", "", "ö", "ö", "äö", "äö"]);
        assert_eq!((start("", 3), end("", 3)), ("", ""));
    }
}
