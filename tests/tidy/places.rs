//! What may be used in one place only.

use crate::{no_faults, source};

#[test]
fn the_raft_library_and_its_store_are_known_in_one_folder() {
    let mut faults = Vec::new();
    for file in source::rust_files() {
        if file.path.starts_with("coordinator/src/consensus") || file.path.starts_with("tests/") {
            continue;
        }
        for (number, line) in file.numbered() {
            if ["openraft::", "redb::"].iter().any(|word| line.contains(word)) {
                faults.push(format!("{}:{number}: only in coordinator/src/consensus", file.path));
            }
        }
    }
    no_faults("openraft and redb stay in coordinator/src/consensus", &faults);
}

#[test]
fn wire_types_are_converted_in_one_folder() {
    let mut faults = Vec::new();
    for file in source::rust_files() {
        if file.path.starts_with("proto/src/convert") || file.path.starts_with("tests/") {
            continue;
        }
        for (number, line) in file.numbered() {
            let conversion = line.trim_start().starts_with("impl")
                && (line.contains("From<") || line.contains("TryFrom<"));
            if conversion && ["pb::", "v1::", "proto::"].iter().any(|word| line.contains(word)) {
                faults.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    no_faults("conversions between pb and model stay in proto/src/convert", &faults);
}

#[test]
fn zeromq_is_known_to_its_probe_alone() {
    let mut faults = Vec::new();
    for file in source::rust_files() {
        let allowed = ["agent/src/probe/zeromq", "agent/tests/", "tests/"];
        if allowed.iter().any(|start| file.path.starts_with(start)) {
            continue;
        }
        for (number, _) in file.product_lines().filter(|(_, line)| line.contains("zmq::")) {
            faults.push(format!("{}:{number}", file.path));
        }
    }
    no_faults("libzmq is used only in agent/src/probe/zeromq", &faults);
}
