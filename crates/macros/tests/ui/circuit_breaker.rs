use stormproof::circuit_breaker;

#[circuit_breaker(failure_threshold = 0, open_duration = "0s", success_threshold = 0)]
async fn all_at_once() -> std::io::Result<()> {
    Ok(())
}

#[circuit_breaker(treshold = 3)]
async fn a_name_that_does_not_exist() -> std::io::Result<()> {
    Ok(())
}

#[circuit_breaker(open_duration = "10 parsecs")]
async fn no_duration() -> std::io::Result<()> {
    Ok(())
}

const LIMIT: u32 = 3;

#[circuit_breaker(failure_threshold = LIMIT)]
async fn no_literal() -> std::io::Result<()> {
    Ok(())
}

#[circuit_breaker(scope = "call", name = 7)]
async fn no_such_word() -> std::io::Result<()> {
    Ok(())
}

#[circuit_breaker(breaker = OTHER, failure_threshold = 3)]
async fn two_of_them() -> std::io::Result<()> {
    Ok(())
}

#[circuit_breaker(success_threshold = 1, success_threshold = 2)]
async fn set_twice() -> std::io::Result<()> {
    Ok(())
}

#[circuit_breaker(open_duration = "1s", recovery_time = "2s", timeout_seconds = 3)]
async fn set_under_other_names() -> std::io::Result<()> {
    Ok(())
}

#[circuit_breaker(timeout_seconds = 0)]
async fn named_as_it_is_written() -> std::io::Result<()> {
    Ok(())
}

#[circuit_breaker(expected_exception = "TimeoutError")]
async fn has_its_place_elsewhere() -> std::io::Result<()> {
    Ok(())
}

fn main() {}
