//! What differs between two settings, in words.
//!
//! Read off their `Debug` form, which knows every field there is: a list of fields kept by hand would grow stale.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

/// Which fields differ, and how: `open_duration is 60s, given 30s; trip is 5, given 3`.
pub(crate) fn differences<T: Debug>(present: &T, given: &T) -> String {
    let (present, given) = (fields(present), fields(given));
    let paths: BTreeSet<&String> = present.keys().chain(given.keys()).collect();
    // Of a part that only one of them has, the part alone is named.
    let absent = |path: &str| {
        let mut parts = path.match_indices('.').map(|(end, _)| &path[..end]);
        parts.any(|part| [&present, &given].iter().any(|fields| fields.get(part).is_some_and(|value| value == "None")))
    };
    let differing = paths.into_iter().filter(|path| !absent(path)).filter_map(|path| {
        let [is, asked] = [&present, &given].map(|fields| fields.get(path).map_or("set", String::as_str));
        (is != asked).then(|| format!("{path} is {is}, given {asked}"))
    });
    differing.collect::<Vec<_>>().join("; ")
}

/// Every value with the path of field names to it; what stands in a list or in an enum is joined under the list's name.
fn fields(value: &impl Debug) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    // What has no name of its own (`Some(`, the parts of a list) adds none.
    let mut path: Vec<Option<String>> = Vec::new();
    for line in format!("{value:#?}").lines().map(|line| line.trim().trim_end_matches(',')) {
        if matches!(line, "}" | ")" | "]") {
            path.pop();
            continue;
        }
        let (name, value) = match line.split_once(": ") {
            Some((name, value)) if is_field(name) => (Some(name.to_owned()), value),
            _ => (None, line),
        };
        let opens = value.ends_with(['{', '(', '[']);
        // `Consecutive(` says which rule: that is a value, too.
        let word = value.trim_end_matches(['{', '(', '[', ' ']);
        let tells = !opens || !matches!(word, "" | "Some" | "Config");
        if opens {
            path.push(name.clone());
        }
        if tells {
            let own = if opens { None } else { name };
            let names: Vec<&str> = path.iter().flatten().chain(&own).map(String::as_str).collect();
            let value = if opens { word } else { value };
            let known = fields.entry(names.join(".")).or_default();
            if !known.is_empty() {
                known.push(' ');
            }
            known.push_str(value);
        }
    }
    fields
}

fn is_field(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use stormproof_core::{Trip, breaker, policy};

    use super::differences;

    #[test]
    fn each_field_that_differs_is_named_with_both_values() {
        let (a, mut b) = (breaker::Config::default(), breaker::Config::default());
        assert_eq!(differences(&a, &b), "");
        b.trip = vec![Trip::consecutive(3)];
        b.open_duration = Duration::from_secs(30);
        b.half_open_timeout = Some(Duration::from_secs(5));
        let expected = "half_open_timeout is None, given 5s; open_duration is 60s, given 30s; \
                        trip is Consecutive 5, given Consecutive 3";
        assert_eq!(differences(&a, &b), expected);

        let with = |breaker| policy::Config { breaker, ..Default::default() };
        let text = differences(&with(Some(a.clone())), &with(Some(b)));
        assert!(text.contains("breaker.open_duration is 60s, given 30s"), "{text}");
        let (set, unset) = (with(Some(a)), with(None));
        assert_eq!(differences(&set, &unset), "breaker is set, given None");
        assert_eq!(differences(&unset, &set), "breaker is None, given set");
    }
}
