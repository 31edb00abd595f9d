//! What shells and `man` know of the command line.

use std::fs::File;
use std::io;
use std::path::Path;

use super::{Failure, cli, config};

/// `crsql-sync completions`: a script for the shell, on standard output.
pub(super) fn completions(options: &cli::Completions) {
    let mut command = config::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(options.shell, &mut command, name, &mut io::stdout());
}

/// `crsql-sync man`: a page on standard output, or all of them in a folder.
pub(super) fn man(options: &cli::Man) -> Result<(), Failure> {
    let command = config::command().disable_help_subcommand(true);
    match &options.folder {
        None => Ok(clap_mangen::Man::new(command).render(&mut io::stdout().lock())?),
        Some(folder) => pages(command, folder),
    }
}

fn pages(mut command: clap::Command, folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)?;
    command.build();
    let subcommands: Vec<_> = command.get_subcommands().cloned().collect();
    for page in std::iter::once(command).chain(subcommands) {
        let man = clap_mangen::Man::new(page);
        man.render(&mut File::create(folder.join(man.get_filename()))?)?;
    }
    Ok(())
}
