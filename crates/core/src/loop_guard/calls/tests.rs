use super::cut;

#[test]
fn a_text_is_cut_between_characters() {
    assert_eq!((cut("äö", 3), cut("äö", 4), cut("äö", 1), cut("", 0)), ("ä", "äö", "", ""));
}
