//! A real server: its whole life, and that nothing of it is left.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio, id},
    thread,
    time::{Duration, Instant},
};

use stormproof_testpg::{Database, Server, Stop};

#[test]
fn data_outlives_a_restart_and_a_crash() {
    let server = Server::start().unwrap();
    let database = Database::of(&server).unwrap();
    database.query("create table t(n int)").unwrap();
    for (stop, rows) in [(Stop::Fast, "1"), (Stop::Crash, "2")] {
        database.query("insert into t values (1)").unwrap();
        server.restart(stop).unwrap();
        assert_eq!(database.query("select count(*) from t").unwrap(), rows);
    }
    assert_eq!(database.query("show fsync").unwrap(), "on");
    assert!(database.query("select nonsense").unwrap_err().contains("nonsense"));
}

#[test]
fn each_test_has_a_database_of_its_own() {
    let (one, other) = (Database::create().unwrap(), Database::create().unwrap());
    one.query("create table t()").unwrap();
    assert!(other.query("select * from t").is_err());
    let url = one.url().to_owned();
    assert_eq!(one.cut().unwrap(), 0);
    drop(one);
    assert!(Database::on(&url).is_err());
}

/// Started by the test below as a process of its own, to be killed.
#[test]
#[ignore = "runs until it is killed"]
fn victim() {
    let server = Server::start().unwrap();
    println!("\nurl {}", server.url("postgres"));
    thread::sleep(Duration::from_secs(600));
}

#[test]
fn a_killed_process_leaves_no_server_and_no_files() {
    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "victim", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let url = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("url ").map(str::to_owned)).unwrap();
    let sockets = url.split(['=', '&']).nth(1).unwrap().to_owned();
    assert!(sockets.contains(&victim.id().to_string()) && !sockets.contains(&format!("-{}-", id())));
    assert!(Path::new(&sockets).exists() && Database::on(&url).is_ok());

    victim.kill().unwrap();
    victim.wait().unwrap();

    let start = Instant::now();
    while Path::new(&sockets).exists() {
        assert!(start.elapsed() < Duration::from_secs(20), "{sockets} is still there");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(Database::on(&url).is_err());
}
