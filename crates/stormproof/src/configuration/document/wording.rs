//! How a value is told that its type cannot be read from: as one that a rule does not allow, with what it is and what
//! would be.
//!
//! Knows the words of the parsers that types are read by, ours and foreign ones, and what they mean in a file.

/// How what parsers say they want, or say instead, begins, and what that is to whoever writes a file. The first that fits
/// is meant.
const ALLOWED: [(&str, &str); 23] = [
    ("a nonzero u32", "1 or more"),
    ("u8", "a whole number from 0 to 255"),
    ("u16", "a whole number from 0 to 65535"),
    ("u32", "a whole number from 0 to 4294967295"),
    ("u64", "a whole number, 0 or more"),
    ("usize", "a whole number, 0 or more"),
    ("i64", "a whole number"),
    ("f64", "a number"),
    ("a boolean", "true or false"),
    ("a string", "a text in quotes"),
    ("a sequence", "a list"),
    ("a map", "a table"),
    ("struct ", "a table"),
    ("expected table", "a table"),
    // Which words an `enum` has is told where a text is none of them.
    ("enum", WORD),
    ("string or table", WORD),
    ("wanted string or table", WORD),
    ("wanted exactly 1 element", "a table with one setting"),
    ("tuple variant", "a list of two numbers"),
    ("expected tuple with length 2", "a list of two numbers"),
    ("tuple of size 2", "a list of two numbers"),
    ("socket address", ADDRESS),
    ("invalid socket address", ADDRESS),
];

const WORD: &str = "a text in quotes, or a table";
const ADDRESS: &str = "an IP address with a port from 0 to 65535, such as 127.0.0.1:8080 or [::1]:8080";

/// Maximum number of characters of a value that are repeated.
const LONGEST: usize = 60;

/// What was found where the message of a parser points to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Found<'t> {
    /// A value, as it is written.
    Written(&'t str),
    /// A value that is not to be repeated.
    Secret,
    /// A list or a table, which may be long.
    Several(&'static str),
    /// A name that nobody knows.
    Name,
}

/// What is wrong with it, by what a parser said.
pub(super) fn told(message: &str, found: Found<'_>) -> String {
    if let Some(name) = message.strip_prefix("missing field ") {
        return format!("is without {name}, allowed is only with it");
    }
    let value = match found {
        Found::Written(text) => format!("is {}", shortened(text)),
        Found::Secret => "is not valid".to_owned(),
        Found::Several(what) => format!("is {what}"),
        Found::Name => "is unknown".to_owned(),
    };
    let (wanted, is_said) = match message.split_once(", expected ") {
        Some((_, wanted)) => (wanted, true),
        None => (message, false),
    };
    if let (Found::Written(word), true) = (found, wanted.ends_with(" variant")) {
        let word = word.trim_matches(['"', '\'']);
        return format!("{value}, allowed is a table such as {{ {word} = … }}");
    }
    if let Some((_, allowed)) = ALLOWED.iter().find(|(words, _)| wanted.starts_with(words)) {
        return format!("{value}, allowed is {allowed}");
    }
    match found {
        _ if is_said => format!("{value}, allowed is {wanted}"),
        // What else a parser says may repeat the value.
        Found::Secret => value,
        // That it is a table or a name says nothing more.
        Found::Several(_) | Found::Name => message.to_owned(),
        Found::Written(_) => format!("{value}: {message}"),
    }
}

/// The one of `words` that `word` may have been meant as.
pub(super) fn most_like<'w>(word: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    if word.len() > LONGEST {
        return None;
    }
    let most = (word.chars().count() / 3).clamp(1, 3);
    words
        .map(|known| (slips(word, known), known))
        .filter(|(slips, _)| (1..=most).contains(slips))
        .min()
        .map(|(_, known)| known)
}

/// Number of letters that are missing, too many, other ones, or exchanged with the next.
fn slips(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.to_lowercase().chars().collect(), other.chars().collect());
    let mut rows = vec![(0..=other.len()).collect::<Vec<_>>()];
    for (at, letter) in one.iter().enumerate() {
        let mut row = vec![at + 1];
        for (to, known) in other.iter().enumerate() {
            let exchanged = at > 0 && to > 0 && one[at - 1] == *known && other[to - 1] == *letter;
            let mut least = (rows[at][to] + usize::from(letter != known)).min(rows[at][to + 1] + 1).min(row[to] + 1);
            if exchanged {
                least = least.min(rows[at - 1][to - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or_default()
}

/// What is written, on one line.
fn shortened(text: &str) -> String {
    let line: String = text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() < text.len() { line + "…" } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_told_with_what_is_allowed() {
        let written = |message| told(message, Found::Written("'x'"));
        assert_eq!(
            written("invalid type: string \"x\", expected u16"),
            "is 'x', allowed is a whole number from 0 to 65535"
        );
        assert_eq!(written("invalid type: string \"x\", expected struct Config"), "is 'x', allowed is a table");
        assert_eq!(written("unknown variant `x`, expected `a` or `b`"), "is 'x', allowed is `a` or `b`");
        assert_eq!(written("invalid socket address syntax"), format!("is 'x', allowed is {ADDRESS}"));
        assert_eq!(written("what nobody foresaw"), "is 'x': what nobody foresaw");
    }

    #[test]
    fn what_may_be_secret_or_long_is_not_repeated() {
        assert_eq!(told("sesame is no number", Found::Secret), "is not valid");
        assert_eq!(told("… \"sesame\", expected f64", Found::Secret), "is not valid, allowed is a number");
        assert_eq!(told("invalid type: map, expected u8", Found::Several("a table")).find("allowed"), Some(12));
        assert_eq!(told("one rule to a table", Found::Several("a table")), "one rule to a table");
        let long = "ä\n".repeat(40);
        assert_eq!(told("no", Found::Written(&long)), format!("is {}…: no", "ä ".repeat(30)));
    }

    #[test]
    fn names_are_unknown_or_missing() {
        assert_eq!(
            told("unknown field `b`, expected one of `a`, `c`", Found::Name),
            "is unknown, allowed is one of `a`, `c`"
        );
        assert_eq!(
            told("missing field `ratio`", Found::Several("a table")),
            "is without `ratio`, allowed is only with it"
        );
    }
}
