//! `data-plane`: see `data_plane::app::cli`.

fn main() -> std::process::ExitCode {
    data_plane::app::cli::main()
}
