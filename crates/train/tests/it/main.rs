//! Training from the outside: each file is named after what goes wrong.

mod rows_of_the_lake;
