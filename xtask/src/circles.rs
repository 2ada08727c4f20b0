//! Files that import each other in a circle, which nothing in the workspace may do: a reader can then begin at the
//! bottom.
//!
//! A file imports another if it names something that is defined there, in a `use` or by a path. A name that a module
//! passes on by `pub use` counts as an import of the file that defines it. What a module takes from the module around it
//! does not count: it is a part of that one. Tests are left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::visit::Visit;

/// Path of a module from the root of its crate: `["breaker", "machine"]`.
type Module = Vec<String>;

/// One crate: its modules, each a file or a part of one.
#[derive(Default)]
struct Crate {
    modules: BTreeMap<Module, Contents>,
}

/// What a module contains.
#[derive(Default)]
struct Contents {
    file: PathBuf,
    /// Names that are defined here.
    defined: BTreeSet<String>,
    /// Names that are brought in, with their whole paths. `*` stands for all names of a module.
    brought: Vec<(String, Module)>,
    /// Other paths, as they are written.
    paths: Vec<Module>,
}

/// All circles of the crates below `root`, each as a list of its files.
pub(crate) fn find(root: &Path) -> Result<Vec<Vec<PathBuf>>, String> {
    let mut circles = Vec::new();
    for source in sources(root)? {
        let mut whole = Crate::default();
        for entry in ["lib.rs", "main.rs"].map(|name| source.join(name)).into_iter().filter(|path| path.exists()) {
            whole.read(&entry, &source, Vec::new())?;
        }
        circles.extend(components(&whole.imports()));
    }
    Ok(circles)
}

/// Folders with the source of a crate.
fn sources(root: &Path) -> Result<Vec<PathBuf>, String> {
    let crates = fs::read_dir(root.join("crates")).map_err(|error| error.to_string())?;
    let crates = crates.filter_map(Result::ok).map(|entry| entry.path());
    let all = crates.chain([root.join("xtask"), root.join("bench")]).map(|folder| folder.join("src"));
    Ok(all.filter(|folder| folder.exists()).collect())
}

impl Crate {
    /// Reads the module in `file`, whose own modules lie in `folder`.
    fn read(&mut self, file: &Path, folder: &Path, module: Module) -> Result<(), String> {
        let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let parsed = syn::parse_file(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        self.take(parsed.items, file, folder, module)
    }

    fn take(&mut self, items: Vec<syn::Item>, file: &Path, folder: &Path, module: Module) -> Result<(), String> {
        let mut contents = Contents { file: file.to_owned(), ..Contents::default() };
        for item in items.into_iter().filter(|item| !is_test(attributes(item))) {
            if let syn::Item::Mod(inner) = item {
                let name = inner.ident.to_string();
                let (path, below) = (below(&module, &name), folder.join(&name));
                match inner.content {
                    Some((_, items)) => self.take(items, file, &below, path)?,
                    None => self.read(&folder.join(format!("{name}.rs")), &below, path)?,
                }
                continue;
            }
            match &item {
                syn::Item::Use(item) => flatten(&item.tree, &module, Vec::new(), &mut contents.brought),
                item => contents.defined.extend(name_of(item)),
            }
            Paths { from: &module, found: &mut contents.paths }.visit_item(&item);
        }
        self.modules.insert(module, contents);
        Ok(())
    }

    /// Which file imports which.
    fn imports(&self) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
        let mut imports: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
        for (module, contents) in &self.modules {
            let own = imports.entry(contents.file.clone()).or_default();
            let around: Vec<_> = (0..=module.len()).filter_map(|length| self.modules.get(&module[..length])).collect();
            let all = contents.brought.iter().map(|(_, path)| path).chain(&contents.paths);
            let files = all.filter_map(|path| self.home(path, 0));
            own.extend(files.filter(|home| around.iter().all(|around| around.file != *home)));
        }
        imports
    }

    /// The file that defines what a path names.
    fn home(&self, path: &[String], followed: u32) -> Option<PathBuf> {
        let at = (0..=path.len()).rev().find(|length| self.modules.contains_key(&path[..*length]))?;
        let contents = &self.modules[&path[..at]];
        let name = path.get(at)?;
        if contents.defined.contains(name) {
            return Some(contents.file.clone());
        }
        let passed_on = contents.brought.iter().filter(|(known, _)| known == name || known == "*");
        passed_on.filter(|_| followed < 8).find_map(|(known, path)| {
            let mut path = path.clone();
            if known == "*" {
                path.pop();
                path.push(name.clone());
            }
            self.home(&path, followed + 1)
        })
    }
}

/// Collects paths that begin at a module of this crate.
struct Paths<'a> {
    from: &'a [String],
    found: &'a mut Vec<Module>,
}

impl Visit<'_> for Paths<'_> {
    fn visit_path(&mut self, path: &syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names.len() > 1 {
            self.found.extend(absolute(&names, self.from));
        }
        syn::visit::visit_path(self, path);
    }
}

/// A path from the root of the crate, if it leads to a module of the crate.
fn absolute(names: &[String], from: &[String]) -> Option<Module> {
    let (first, rest) = names.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([from, rest].concat()),
        "super" => {
            let (_, around) = from.split_last()?;
            match rest.first() {
                Some(next) if next == "super" => absolute(rest, around),
                _ => Some([around, rest].concat()),
            }
        }
        _ => Some([from, names].concat()),
    }
}

fn flatten(tree: &syn::UseTree, from: &[String], mut path: Vec<String>, found: &mut Vec<(String, Module)>) {
    let mut add = |name: String, mut path: Vec<String>, last: String| {
        if last != "self" {
            path.push(last);
        }
        found.extend(absolute(&path, from).map(|path| (name, path)));
    };
    match tree {
        syn::UseTree::Path(part) => {
            path.push(part.ident.to_string());
            flatten(&part.tree, from, path, found);
        }
        syn::UseTree::Name(name) => {
            let last = name.ident.to_string();
            let known = if last == "self" { path.last().cloned().unwrap_or_default() } else { last.clone() };
            add(known, path, last);
        }
        syn::UseTree::Rename(renamed) => add(renamed.rename.to_string(), path, renamed.ident.to_string()),
        syn::UseTree::Glob(_) => add("*".to_owned(), path, "*".to_owned()),
        syn::UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, from, path.clone(), found);
            }
        }
    }
}

fn below(module: &[String], name: &str) -> Module {
    [module, &[name.to_owned()]].concat()
}

fn name_of(item: &syn::Item) -> Option<String> {
    Some(
        match item {
            syn::Item::Const(item) => &item.ident,
            syn::Item::Enum(item) => &item.ident,
            syn::Item::Fn(item) => &item.sig.ident,
            syn::Item::Static(item) => &item.ident,
            syn::Item::Struct(item) => &item.ident,
            syn::Item::Trait(item) => &item.ident,
            syn::Item::Type(item) => &item.ident,
            syn::Item::Union(item) => &item.ident,
            syn::Item::Macro(item) => return made_by_macro(item),
            _ => return None,
        }
        .to_string(),
    )
}

/// The name of a macro, or of what a macro around a definition defines, as `pin_project!` does.
fn made_by_macro(item: &syn::ItemMacro) -> Option<String> {
    if let Some(name) = &item.ident {
        return Some(name.to_string());
    }
    let words: Vec<String> = item.mac.tokens.clone().into_iter().map(|token| token.to_string()).collect();
    let at = words.iter().position(|word| word == "struct" || word == "enum")?;
    words.get(at + 1).cloned()
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether an item exists only in tests.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).any(|attribute| {
        let condition = attribute.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default();
        condition.split(|c: char| !c.is_alphanumeric()).any(|word| matches!(word, "test" | "doctest"))
    })
}

/// Groups of files each of which reaches all others of its group.
fn components(imports: &BTreeMap<PathBuf, BTreeSet<PathBuf>>) -> Vec<Vec<PathBuf>> {
    let reach = |start: &PathBuf| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&PathBuf> = imports.get(start).into_iter().flatten().collect();
        while let Some(file) = next.pop() {
            if seen.insert(file.clone()) {
                next.extend(imports.get(file).into_iter().flatten());
            }
        }
        seen
    };
    let reached: BTreeMap<&PathBuf, BTreeSet<PathBuf>> = imports.keys().map(|file| (file, reach(file))).collect();
    let circle = |file: &PathBuf| -> Vec<PathBuf> {
        let own = &reached[file];
        own.iter().filter(|other| reached.get(other).is_some_and(|back| back.contains(file))).cloned().collect()
    };
    let circles: BTreeSet<Vec<PathBuf>> = imports.keys().map(circle).filter(|circle| circle.len() > 1).collect();
    circles.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step;

    /// Folders whose circles are still to be opened: none may be added.
    const STILL_THERE: [&str; 1] = ["crates/journal"];

    #[test]
    fn no_files_import_each_other_in_a_circle() {
        let root = step::root().unwrap();
        let known = |file: &PathBuf| STILL_THERE.iter().any(|folder| file.starts_with(root.join(folder)));
        let circles: Vec<_> = find(&root).unwrap().into_iter().filter(|circle| !circle.iter().all(known)).collect();
        assert!(circles.is_empty(), "{circles:#?}");
    }
}
