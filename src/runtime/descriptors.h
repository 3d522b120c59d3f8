// What every program does with its file descriptors before it opens the first file.
#pragma once

// Opens /dev/null for those of descriptors 0, 1 and 2 that are closed: the first files opened would take their places,
// and get what is meant for the console. Raises the limit of open files to 65,536, or what the system allows: a run
// holds every shard open.
void prepare_descriptors();
