use stormproof::{policy, with_fallback, with_timeout};

#[with_fallback]
async fn nothing() -> std::io::Result<u32> {
    Ok(1)
}

#[with_fallback(default = 1, fallback = other)]
async fn two_kinds() -> std::io::Result<u32> {
    Ok(1)
}

#[with_fallback(fallback = other())]
async fn a_call_is_no_function() -> std::io::Result<u32> {
    Ok(1)
}

#[with_fallback(fallbacks = [])]
async fn an_empty_chain() -> std::io::Result<u32> {
    Ok(1)
}

#[with_fallback(default = 1)]
#[with_timeout("1s", fallback = 2)]
async fn two_attributes() -> std::io::Result<u32> {
    Ok(1)
}

#[with_timeout]
async fn no_time() -> std::io::Result<u32> {
    Ok(1)
}

#[with_timeout(0)]
async fn none_at_all() -> std::io::Result<u32> {
    Ok(1)
}

#[with_timeout("1s", "2s")]
async fn two_times() -> std::io::Result<u32> {
    Ok(1)
}

#[policy]
async fn no_policy() -> std::io::Result<u32> {
    Ok(1)
}

#[policy("openai")]
#[stormproof::retry]
async fn said_elsewhere() -> std::io::Result<u32> {
    Ok(1)
}

#[policy("openai", "anthropic")]
#[stormproof::circuit_breaker]
async fn two_policies() -> std::io::Result<u32> {
    Ok(1)
}

fn main() {}
