//! SQLite keeps the promises of the books, and what is particular to a file: reopening, racing
//! processes, damage.
