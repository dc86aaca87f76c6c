/* An /init that says so and does nothing for ever: what a machine needs at least. */
#include <unistd.h>

int main(void)
{
	static const char line[] = "idle\n";

	if (write(1, line, sizeof(line) - 1) < 0)
		return 1;
	for (;;)
		pause();
}
