-- Which settings this server has that make an insert wait for the disk.
SELECT name
FROM system.merge_tree_settings
WHERE name IN ('fsync_after_insert', 'fsync_part_directory', 'min_rows_to_fsync_after_merge')
ORDER BY name
