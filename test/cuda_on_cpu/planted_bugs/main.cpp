// planted_bugs NAME runs one program; without a name, lists the programs as "name|modes that must catch it|what the
// report says".
#include <cstring>

#include "test/cuda_on_cpu/planted_bugs/bugs.h"

int main(int argc, char** argv) {
    std::vector<Bug> bugs = kernel_bugs();
    for (const Bug& bug : host_bugs()) bugs.push_back(bug);
    for (const Bug& bug : hopper_bugs()) bugs.push_back(bug);
#if RELORA_NCCL
    for (const Bug& bug : nccl_bugs()) bugs.push_back(bug);
#endif
    for (const Bug& bug : bugs) {
        if (argc < 2)
            printf("%s|%s|%s\n", bug.name,
                   strcmp(bug.caught_in, "all") ? bug.caught_in : "forward reverse random deferred asan tsan",
                   bug.says);
        else if (!strcmp(argv[1], bug.name))
            return bug.program(), 0;
    }
    return argc < 2 ? 0 : 4;
}
