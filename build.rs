//! Builds SQLite for the binary, in the one configuration in which nothing else does.
//!
//! With the feature `loadable-extension` all calls to SQLite go through the table of functions that the host of an
//! extension hands over, and libsqlite3-sys compiles no SQLite, even where `bundled` asks for it. The binary
//! `crsql-sync` has no host, so it gets a SQLite of its own, from the same source and with the same options.
//! `src/server/own_sqlite.rs` connects the two. The library, and with it the extension, does not contain it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(all(feature = "loadable-extension", feature = "server"))]
    if let Err(error) = own_sqlite::compile() {
        println!("cargo:warning=the binary crsql-sync cannot be linked: {error}");
    }
}

#[cfg(all(feature = "loadable-extension", feature = "server"))]
mod own_sqlite {
    use std::error::Error;
    use std::path::PathBuf;
    use std::process::Command;

    /// The options of libsqlite3-sys's feature `bundled`.
    const OPTIONS: [&str; 16] = [
        "SQLITE_CORE",
        "SQLITE_DEFAULT_FOREIGN_KEYS=1",
        "SQLITE_ENABLE_API_ARMOR",
        "SQLITE_ENABLE_COLUMN_METADATA",
        "SQLITE_ENABLE_DBSTAT_VTAB",
        "SQLITE_ENABLE_FTS3",
        "SQLITE_ENABLE_FTS3_PARENTHESIS",
        "SQLITE_ENABLE_FTS5",
        "SQLITE_ENABLE_LOAD_EXTENSION=1",
        "SQLITE_ENABLE_RTREE",
        "SQLITE_ENABLE_STAT4",
        "SQLITE_SOUNDEX",
        "SQLITE_THREADSAFE=1",
        "SQLITE_USE_URI",
        "HAVE_USLEEP=1",
        "HAVE_ISNAN",
    ];

    pub(super) fn compile() -> Result<(), Box<dyn Error>> {
        let source = source()?;
        println!("cargo:rerun-if-changed={}", source.display());
        let windows = std::env::var_os("CARGO_CFG_WINDOWS").is_some();
        let mut sqlite = cc::Build::new();
        sqlite.file(source).opt_level(2).warnings(false).cargo_metadata(false);
        for option in OPTIONS {
            sqlite.flag(format!("-D{option}"));
        }
        if !windows {
            sqlite.flag("-DHAVE_LOCALTIME_R");
        }
        sqlite.try_compile("own_sqlite3")?;
        let msvc = std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "msvc");
        let library = if msvc { "own_sqlite3.lib" } else { "libown_sqlite3.a" };
        let library = PathBuf::from(std::env::var("OUT_DIR")?).join(library);
        println!("cargo:rustc-link-arg-bins={}", library.display());
        if !windows {
            println!("cargo:rustc-link-arg-bins=-lm");
        }
        Ok(())
    }

    /// `sqlite3.c` of the libsqlite3-sys that this package is built with.
    fn source() -> Result<PathBuf, Box<dyn Error>> {
        let metadata = Command::new(std::env::var_os("CARGO").ok_or("cargo does not tell where it is")?)
            .args(["metadata", "--format-version=1", "--offline", "--manifest-path"])
            .arg(PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("Cargo.toml"))
            .output()?;
        if !metadata.status.success() {
            return Err(String::from_utf8_lossy(&metadata.stderr).replace('\n', " ").into());
        }
        let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout)?;
        let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
        let manifest = packages
            .iter()
            .find(|package| package["name"] == "libsqlite3-sys")
            .and_then(|package| package["manifest_path"].as_str())
            .ok_or("libsqlite3-sys is not among the packages")?;
        Ok(PathBuf::from(manifest).with_file_name("sqlite3").join("sqlite3.c"))
    }
}
