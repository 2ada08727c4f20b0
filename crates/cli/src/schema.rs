//! `stormproof schema`: the JSON Schema of a configuration file.

use std::process::ExitCode;

/// Print the JSON Schema of a configuration file
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Of which file
    #[arg(value_enum, default_value_t = File::Gateway)]
    file: File,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum File {
    /// That of the gateway
    Gateway,
    /// That of the library, with policies by name
    Settings,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let schema = match args.file {
        File::Gateway => stormproof_gateway::schema(),
        File::Settings => stormproof::schema::settings(),
    };
    crate::print(&format!("{schema:#}\n"));
    ExitCode::SUCCESS
}
