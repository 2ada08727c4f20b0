//! JSON as a template.

/// A JSON value made from the named fields of what is shown.
///
/// A field that is absent is `null`. A span of time is written in seconds; one without end is `null`.
#[derive(Clone, Copy, Debug)]
pub enum Template {
    /// The value of a field.
    Field(&'static str),
    /// The time of day that lies the field's span of time in the past, as ISO 8601; `now` is a span of zero.
    Iso(&'static str),
    /// The same in seconds since 1970.
    Unix(&'static str),
    /// Whether a number is zero.
    IsZero(&'static str),
    /// Whether a number is not zero.
    NotZero(&'static str),
    /// The last text whose number the field reaches; the numbers grow.
    Steps(&'static str, &'static [(u64, &'static str)]),
    /// Always this text.
    Text(&'static str),
    /// Always this number.
    Number(u64),
    /// Always `true`.
    True,
    /// An object.
    Object(&'static [(&'static str, Template)]),
    /// A list with one value for each part of that name.
    Each(&'static str, &'static Template),
    /// An object with one value for each part of that name, whose key is the part's field `name`.
    ByName(&'static str, &'static Template),
    /// The value for the only part of that name. Without such a part an object leaves the key out.
    Part(&'static str, &'static Template),
}
