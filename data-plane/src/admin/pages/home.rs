//! `/` and `/help`: what there is.

use std::fmt::Write;

use super::super::reply::{HTML, Reply};
use super::Call;
use super::table::{Method, PAGES};

/// The list of pages, as `/help` and 404 print it.
pub(super) fn commands() -> String {
    let mut out = String::from("admin commands are:\n");
    for page in PAGES {
        let post = if page.method == Method::Post { " (POST)" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {}{post}: {}", page.path, page.help);
        for (name, help) in page.params {
            let _ = writeln!(out, "      {name}: {help}");
        }
    }
    out
}

pub(super) fn help(_: &Call<'_>) -> Reply {
    Reply::text(commands())
}

/// Links to what can be looked at, buttons for what changes something.
pub(super) fn page(_: &Call<'_>) -> Reply {
    let mut rows = String::new();
    for page in PAGES {
        let (path, help) = (page.path, page.help.replace('<', "&lt;"));
        let name = path.trim_start_matches('/');
        let link = match page.method {
            Method::Any => format!("<a href=\"{path}\">{name}</a>"),
            Method::Post => {
                format!("<form action=\"{path}\" method=\"post\"><button>{name}</button></form>")
            }
        };
        let _ = writeln!(rows, "<tr><td>{link}</td><td>{help}</td></tr>");
    }
    let body = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><title>Envoy Admin</title></head>\n<body>\n\
         <table>\n{rows}</table>\n</body>\n</html>\n"
    );
    Reply::text(body).of_type(HTML)
}
