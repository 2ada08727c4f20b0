/* Loaded into a worker: on SIGUSR1 the process is forked, wherever it is. The twin keeps all open files and locks for half
   a second, and ends without any cleaning up. */
#include <signal.h>
#include <time.h>
#include <unistd.h>

static void forks(int signal)
{
    (void)signal;
    if (fork() == 0) {
        struct timespec half_a_second = {0, 500000000};
        nanosleep(&half_a_second, 0);
        _exit(0);
    }
}

__attribute__((constructor)) static void install(void)
{
    struct sigaction action = {0};
    action.sa_handler = forks;
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, 0);
}
