//! `demo`: see `demo::cli`.

fn main() -> std::process::ExitCode {
    demo::cli::main()
}
