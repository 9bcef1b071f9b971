-- The commit in force. One that was sent twice is the same twice.
SELECT
    layout, session, number, stage, slot_group, generation, epoch, newest, names, next_cube,
    cube_ids, cube_names, cube_dimensions, cube_panes, cube_floors, cube_bounded,
    run_ids, run_parts, run_least, run_greatest, run_rows, run_bytes,
    extent_runs, extent_cubes, extent_rows,
    mend_tenants, mend_from, mend_to, mend_epochs
FROM commits
WHERE (session, number) IN
(
    SELECT session, number
    FROM commits
    ORDER BY session DESC, number DESC
    LIMIT 1
)
LIMIT 1
