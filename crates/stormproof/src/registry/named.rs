//! Names of policies that attributes use.

/// A name that an attribute of the program uses. They are known from the start of the program, whether or not the function
/// is ever called.
#[derive(Debug)]
pub struct Named {
    /// The name of the policy.
    pub policy: &'static str,
    /// The file of the function.
    pub file: &'static str,
    /// The line of the attribute.
    pub line: u32,
}

inventory::collect!(Named);

/// The names that attributes use and for which there is no policy among `names`.
pub(crate) fn unknown(is_known: impl Fn(&str) -> bool) -> Vec<&'static Named> {
    let mut unknown: Vec<_> = inventory::iter::<Named>().filter(|named| !is_known(named.policy)).collect();
    unknown.sort_unstable_by_key(|named| (named.policy, named.file, named.line));
    unknown
}
