//! The table of Envoy's pages, with the words of its `/help`.

use super::super::reply::Reply;
use super::{
    Call, certs, clusters, config_dump, home, init_dump, lifecycle, listeners, logging, lookups,
    process, profilers, runtime, server_info, stats,
};

/// Which methods a page answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// It changes nothing: all of them, as in Envoy.
    Any,
    /// It changes something.
    Post,
}

/// A page.
pub(super) struct Page {
    pub(super) path: &'static str,
    pub(super) method: Method,
    pub(super) help: &'static str,
    /// Parameters and what they mean.
    pub(super) params: &'static [(&'static str, &'static str)],
    pub(super) answer: fn(&Call<'_>) -> Reply,
}

/// All of them, in the order of `/help`.
pub(super) const PAGES: &[Page] = &[
    Page {
        path: "/",
        method: Method::Any,
        help: "Admin home page",
        params: &[],
        answer: home::page,
    },
    Page {
        path: "/allocprofiler",
        method: Method::Post,
        help: "enable/disable the allocation profiler (if supported)",
        params: &[("enable", "enable/disable the allocation profiler; One of (y, n)")],
        answer: profilers::alloc,
    },
    Page {
        path: "/certs",
        method: Method::Any,
        help: "print certs on machine",
        params: &[],
        answer: certs::page,
    },
    Page {
        path: "/clusters",
        method: Method::Any,
        help: "upstream cluster status",
        params: &[("filter", "Regular expression (Google re2) for filtering clusters by name")],
        answer: clusters::page,
    },
    Page {
        path: "/config_dump",
        method: Method::Any,
        help: "dump current Envoy configs",
        params: &[
            ("resource", "The resource to dump"),
            (
                "mask",
                "The mask to apply. When both resource and mask are specified, the mask is \
                 applied to every element in the desired repeated field so that only a \
                 subset of fields are returned. The mask is parsed as a \
                 Protobuf::FieldMask",
            ),
            (
                "name_regex",
                "Dump only the currently loaded configurations whose names match the \
                 specified regex. Can be used with both resource and mask query \
                 parameters.",
            ),
            (
                "include_eds",
                "Dump currently loaded configuration including EDS. See the response \
                 definition for more information",
            ),
        ],
        answer: config_dump::page,
    },
    Page {
        path: "/contention",
        method: Method::Any,
        help: "dump current Envoy mutex contention stats (if enabled)",
        params: &[],
        answer: process::contention,
    },
    Page {
        path: "/cpuprofiler",
        method: Method::Post,
        help: "enable/disable the CPU profiler",
        params: &[("enable", "enables the CPU profiler; One of (y, n)")],
        answer: profilers::cpu,
    },
    Page {
        path: "/drain_listeners",
        method: Method::Post,
        help: "drain listeners",
        params: &[
            (
                "graceful",
                "When draining listeners, enter a graceful drain period prior to closing \
                 listeners. This behaviour and duration is configurable via server options \
                 or CLI",
            ),
            (
                "skip_exit",
                "When draining listeners, drain the connections but never stop the \
                 listeners. The graceful parameter has no effect when this is set, since \
                 the drain period only delays stopping the listeners",
            ),
            (
                "inboundonly",
                "Drains all inbound listeners. traffic_direction field in \
                 envoy_v3_api_msg_config.listener.v3.Listener is used to determine whether \
                 a listener is inbound or outbound.",
            ),
        ],
        answer: lifecycle::drain_listeners,
    },
    Page {
        path: "/healthcheck/fail",
        method: Method::Post,
        help: "cause the server to fail health checks",
        params: &[],
        answer: lifecycle::healthcheck_fail,
    },
    Page {
        path: "/healthcheck/ok",
        method: Method::Post,
        help: "cause the server to pass health checks",
        params: &[],
        answer: lifecycle::healthcheck_ok,
    },
    Page {
        path: "/heap_dump",
        method: Method::Any,
        help: "dump current Envoy heap (if supported)",
        params: &[],
        answer: profilers::heap_dump,
    },
    Page {
        path: "/heapprofiler",
        method: Method::Post,
        help: "enable/disable the heap profiler",
        params: &[("enable", "enable/disable the heap profiler; One of (y, n)")],
        answer: profilers::heap,
    },
    Page {
        path: "/help",
        method: Method::Any,
        help: "print out list of admin commands",
        params: &[],
        answer: home::help,
    },
    Page {
        path: "/hot_restart_version",
        method: Method::Any,
        help: "print the hot restart compatibility version",
        params: &[],
        answer: process::hot_restart_version,
    },
    Page {
        path: "/init_dump",
        method: Method::Any,
        help: "dump current Envoy init manager information (experimental)",
        params: &[(
            "mask",
            "The desired component to dump unready targets. The mask is parsed as a \
                 Protobuf::FieldMask. For example, get the unready targets of all \
                 listeners with /init_dump?mask=listener`",
        )],
        answer: init_dump::page,
    },
    Page {
        path: "/listeners",
        method: Method::Any,
        help: "print listener info",
        params: &[("format", "File format to use; One of (text, json)")],
        answer: listeners::page,
    },
    Page {
        path: "/logging",
        method: Method::Post,
        help: "query/change logging levels",
        params: &[
            (
                "paths",
                "Change multiple logging levels by setting to \
                 <logger_name1>:<desired_level1>,<logger_name2>:<desired_level2>. If fine \
                 grain logging is enabled, use __FILE__ or a glob experision as the logger \
                 name. For example, source/common*:warning",
            ),
            (
                "group",
                "Change given logger group to desired level, set to \
                 <logger_group_name>:<desired_level>. logger_group_name must be a logger \
                 name.",
            ),
            (
                "level",
                "desired logging level, this will change all loggers's level; One of (, \
                 trace, debug, info, warning, error, critical, off)",
            ),
        ],
        answer: logging::page,
    },
    Page {
        path: "/memory",
        method: Method::Any,
        help: "print current allocation/heap usage",
        params: &[],
        answer: process::memory,
    },
    Page {
        path: "/memory/tcmalloc",
        method: Method::Any,
        help: "print TCMalloc stats",
        params: &[],
        answer: process::tcmalloc,
    },
    Page {
        path: "/peak_heap_dump",
        method: Method::Any,
        help: "dump peak Envoy heap (if supported)",
        params: &[],
        answer: profilers::heap_dump,
    },
    Page {
        path: "/quitquitquit",
        method: Method::Post,
        help: "exit the server",
        params: &[],
        answer: lifecycle::quitquitquit,
    },
    Page {
        path: "/ready",
        method: Method::Any,
        help: "print server state, return 200 if LIVE, otherwise return 503",
        params: &[],
        answer: lifecycle::ready,
    },
    Page {
        path: "/reopen_logs",
        method: Method::Post,
        help: "reopen access logs",
        params: &[],
        answer: lifecycle::reopen_logs,
    },
    Page {
        path: "/reset_counters",
        method: Method::Post,
        help: "reset all counters to zero",
        params: &[],
        answer: stats::reset_counters,
    },
    Page {
        path: "/runtime",
        method: Method::Any,
        help: "print runtime values",
        params: &[],
        answer: runtime::page,
    },
    Page {
        path: "/runtime_modify",
        method: Method::Post,
        help: "Adds or modifies runtime values as passed in query parameters. To delete a \
               previously added key, use an empty string as the value. Note that deletion \
               only applies to overrides added via this endpoint; values loaded from disk \
               can be modified via override but not deleted. E.g. \
               ?key1=value1&key2=value2...",
        params: &[],
        answer: runtime::modify,
    },
    Page {
        path: "/server_info",
        method: Method::Any,
        help: "print server version/status information",
        params: &[],
        answer: server_info::page,
    },
    Page {
        path: "/stats",
        method: Method::Any,
        help: "print server stats",
        params: &[
            ("usedonly", "Only include stats that have been written by system since restart"),
            ("filter", "Regular expression (Google re2) for filtering stats"),
            ("invert_filter", "Invert the filter regex"),
            ("format", "Format to use; One of (html, active-html, text, json)"),
            (
                "type",
                "Stat types to include.; One of (All, Counters, Histograms, Gauges, \
                 TextReadouts)",
            ),
            (
                "histogram_buckets",
                "Histogram bucket display mode; One of (cumulative, disjoint, detailed, \
                 summary)",
            ),
        ],
        answer: stats::page,
    },
    Page {
        path: "/stats/prometheus",
        method: Method::Any,
        help: "print server stats in prometheus format",
        params: &[
            ("usedonly", "Only include stats that have been written by system since restart"),
            (
                "text_readouts",
                "Render text_readouts as new gaugues with value 0 (increases Prometheus \
                 data size)",
            ),
            ("filter", "Regular expression (Google re2) for filtering stats"),
            ("invert_filter", "Invert the filter regex"),
            ("histogram_buckets", "Histogram bucket display mode; One of (cumulative, summary)"),
        ],
        answer: stats::prometheus,
    },
    Page {
        path: "/stats/recentlookups",
        method: Method::Any,
        help: "Show recent stat-name lookups",
        params: &[],
        answer: lookups::page,
    },
    Page {
        path: "/stats/recentlookups/clear",
        method: Method::Post,
        help: "clear list of stat-name lookups and counter",
        params: &[],
        answer: lookups::change,
    },
    Page {
        path: "/stats/recentlookups/disable",
        method: Method::Post,
        help: "disable recording of reset stat-name lookup names",
        params: &[],
        answer: lookups::change,
    },
    Page {
        path: "/stats/recentlookups/enable",
        method: Method::Post,
        help: "enable recording of reset stat-name lookup names",
        params: &[],
        answer: lookups::change,
    },
];
