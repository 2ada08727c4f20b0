use super::Texts;
use crate::loop_guard::config::Config;
use crate::loop_guard::mask::Mask;
use crate::loop_guard::rule::Rule;

fn push(texts: &mut Texts, text: &str) -> Option<Rule> {
    texts.push(text, 0, Mask { on: true, ignored: [&[], &[]], places: false }, &Config::default())
}

fn once(text: &str) -> Option<Rule> {
    push(&mut Texts::default(), text)
}

#[test]
fn a_sentence_again_and_again_is_found_in_any_script() {
    let sentence = "I will now try to fix the problem. ";
    assert_eq!(once(&sentence.repeat(6)), None);
    assert_eq!(once(&sentence.repeat(7)), Some(Rule::Text(7)));
    let other = "Let me look at this file once more. ";
    assert_eq!(once(&format!("{sentence}{other}").repeat(10)), Some(Rule::Text(10)));
    assert_eq!(once(&"ฉันจะตรวจสอบไฟล์นี้อีกครั้ง\n".repeat(10)), Some(Rule::Text(10)));
    assert_eq!(once(&"我现在要检查这个文件的内容。".repeat(10)), Some(Rule::Text(10)));
}

#[test]
fn a_sentence_that_is_a_small_part_of_a_text_may_stand_there_often() {
    let finding = |n: u32| {
        format!(
            "The check of module number {n} went well and took its time as it has to.\nNo problem was found in it.\n"
        )
    };
    assert_eq!(once(&(0..50).map(finding).collect::<String>()), None);
}

#[test]
fn tables_code_logs_and_data_may_repeat_their_lines() {
    let lines = [
        "| ok | the test has passed without a failure | 12 ms |\n",
        "    let value = map.get(key).ok_or(Error::Missing)?; return the value of it\n",
        "// SAFETY: the pointer is valid for as long as the guard lives.\n",
        "2026-01-01 12:00:00 INFO the request was handled by the worker\n",
        "[info] the request was handled by the worker in time\n",
        "name,city,country,people,area,of,it\n",
        "assert result is not None and result has all of it;\n",
        "Berlin    Germany    many people live there in this town\n",
        "> quoted words of somebody else that are said again\n",
    ];
    for line in lines {
        assert_eq!(once(&line.repeat(200)), None, "{line}");
    }
    let fenced = format!("```text\n{}```\n", "all of this is repeated in the output of it\n".repeat(100));
    assert_eq!(once(&fenced), None);
}

#[test]
fn of_a_long_text_the_end_is_looked_at_and_code_is_code_also_there() {
    let code = "assert result and that all of it is there\n".repeat(3_000);
    assert_eq!(
        once(&format!("Here it is:\n```python\n{code}```\nThat is all there is to be said of it for now.")),
        None
    );
    let found = once(&format!("```text\n{code}```\n{}", "Let me look at this once more. ".repeat(3_000)));
    assert!(matches!(found, Some(Rule::Text(times)) if times > 2_000), "{found:?}");
}

#[test]
fn texts_that_differ_are_not_the_same() {
    let mut texts = Texts::default();
    for file in ["parser", "lexer", "printer", "linker", "loader", "reader", "writer", "server"] {
        let text = format!("I read {file} and change how the {file} reports its errors to the caller of {file}.");
        assert_eq!(push(&mut texts, &text), None);
    }
    let short = "Running the tests.";
    assert_eq!((0..10).filter_map(|_| push(&mut texts, short)).count(), 0);
}
