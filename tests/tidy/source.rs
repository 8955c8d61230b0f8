//! The tree's files, and what of a Rust file is test code.

use proc_macro2::Span;
use std::{
    fs,
    path::{Path, PathBuf},
};
use syn::{Attribute, spanned::Spanned, visit::Visit};

/// Folders that hold nothing of ours.
const SKIPPED: [&str; 2] = ["target", ".git"];

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every file of the tree, its path relative to the root with `/`, and its
/// text; files that are not UTF-8 are left out.
pub(crate) fn files() -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                if !SKIPPED.iter().any(|skipped| name == *skipped) {
                    folders.push(entry.path());
                }
            } else if kind.is_file()
                && let Ok(text) = fs::read_to_string(entry.path())
            {
                let path = entry.path().strip_prefix(&root).unwrap().display().to_string();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

/// Every Rust file, parsed.
pub(crate) fn rust_files() -> Vec<RustFile> {
    let mut files: Vec<RustFile> = files()
        .into_iter()
        .filter(|(path, _)| path.ends_with(".rs"))
        .map(|(path, text)| RustFile::parse(path, text))
        .collect();
    // A test module in a file of its own is test code as a whole, and so is
    // every module below it.
    let roots: Vec<String> = files.iter().flat_map(RustFile::test_modules).collect();
    for file in &mut files {
        let below = |root: &String| {
            file.path == format!("{root}.rs") || file.path.starts_with(&format!("{root}/"))
        };
        file.all_tests |= roots.iter().any(below);
    }
    files
}

/// A Rust file and where in it the tests are.
pub(crate) struct RustFile {
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) functions: Vec<Function>,
    /// First and last line of each `#[cfg(test)]` item and each test function.
    test_lines: Vec<(usize, usize)>,
    /// Test modules that are declared here and lie in files of their own.
    declared: Vec<String>,
    all_tests: bool,
}

/// A function with a body.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

impl RustFile {
    fn parse(path: String, text: String) -> Self {
        let parsed = syn::parse_file(&text).unwrap_or_else(|why| panic!("{path}: {why}"));
        let mut walk = Walk::default();
        walk.visit_file(&parsed);
        let all_tests = path.contains("/tests/")
            || path.starts_with("tests/scenarios/")
            || path.starts_with("tests/lab/")
            || path.starts_with("tests/tidy");
        Self {
            path,
            text,
            functions: walk.functions,
            test_lines: walk.test_lines,
            declared: walk.declared,
            all_tests,
        }
    }

    /// Where the test modules declared here lie, without `.rs`.
    fn test_modules(&self) -> Vec<String> {
        let (folder, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let stem = name.trim_end_matches(".rs");
        let children = match stem {
            "mod" | "lib" | "main" => folder.to_owned(),
            _ => format!("{folder}/{stem}"),
        };
        self.declared.iter().map(|module| format!("{children}/{module}")).collect()
    }

    /// Whether all of the file is test code.
    pub(crate) const fn is_test_file(&self) -> bool {
        self.all_tests
    }

    /// Whether this line, counted from 1, is test code.
    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        self.is_test_file()
            || self.test_lines.iter().any(|(first, last)| (*first..=*last).contains(&line))
    }

    /// Lines of product code, with their numbers from 1; comments stay out.
    pub(crate) fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.numbered().filter(|(number, _)| !self.is_test_line(*number))
    }

    /// All lines but comments, with their numbers from 1.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(at, line)| (at + 1, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// How many lines there are without the tests.
    pub(crate) fn length(&self) -> usize {
        let all = self.text.lines().count();
        (1..=all).filter(|line| !self.is_test_line(*line)).count()
    }

    /// The text of a function.
    pub(crate) fn body(&self, function: &Function) -> String {
        let lines: Vec<&str> = self.text.lines().collect();
        lines[function.first - 1..function.last].join("\n")
    }
}

#[derive(Default)]
struct Walk {
    functions: Vec<Function>,
    test_lines: Vec<(usize, usize)>,
    declared: Vec<String>,
}

impl Walk {
    fn note(&mut self, attributes: &[Attribute], item: Span) {
        if attributes.iter().any(is_test) {
            let first = attributes
                .iter()
                .map(|attribute| attribute.span().start().line)
                .min()
                .unwrap_or(item.start().line);
            self.test_lines.push((first, item.end().line));
        }
    }

    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        self.functions.push(Function {
            name: signature.ident.to_string(),
            first: signature.span().start().line,
            last: block.span().end().line,
        });
    }
}

impl<'ast> Visit<'ast> for Walk {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.note(&item.attrs, item.span());
        if item.content.is_none() && item.attrs.iter().any(is_test) {
            self.declared.push(item.ident.to_string());
        }
        syn::visit::visit_item_mod(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.note(&item.attrs, item.span());
        self.function(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.note(&item.attrs, item.span());
        syn::visit::visit_item_impl(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.note(&item.attrs, item.span());
        self.function(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note(&item.attrs, item.span());
    }
}

/// `#[cfg(test)]` and the like, `#[test]`, `#[tokio::test]`.
fn is_test(attribute: &Attribute) -> bool {
    let path = attribute.path();
    if path.is_ident("cfg") {
        let inside = attribute.meta.require_list().map(|list| list.tokens.to_string());
        // `any(test, ...)` and `all(test, ...)` too, but not `not(test)`.
        return inside.is_ok_and(|text| {
            !text.contains("not")
                && text.split(|c: char| !c.is_alphanumeric()).any(|word| word == "test")
        });
    }
    path.segments.last().is_some_and(|segment| segment.ident == "test")
}

#[test]
fn test_code_is_told_from_product_code() {
    let text =
        "//! x\nfn a() {\n}\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn b() {\n    }\n}\n";
    let file = RustFile::parse("agent/src/x.rs".into(), text.into());
    assert!(file.test_modules().is_empty());
    assert_eq!(file.length(), 3);
    assert_eq!(file.functions.len(), 2);
    assert!(file.is_test_line(4) && !file.is_test_line(3));
    assert_eq!(file.body(&file.functions[0]), "fn a() {\n}");
}

#[test]
fn a_test_module_in_its_own_file_is_found() {
    let text = "//! x\n#[cfg(test)]\nmod lab;\nmod other;\n";
    let places = |path: &str| RustFile::parse(path.into(), text.into()).test_modules();
    assert_eq!(places("agent/src/service/mod.rs"), ["agent/src/service/lab"]);
    assert_eq!(places("agent/src/service.rs"), ["agent/src/service/lab"]);
}
