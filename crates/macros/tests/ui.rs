//! What a mistake in an attribute is answered with.
//!
//! Only messages of our own: those of the compiler differ between its versions.

#[test]
fn mistakes_are_told_where_they_stand() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
