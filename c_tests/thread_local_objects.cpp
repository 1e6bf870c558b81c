// control: glibc
/* C++ thread_local objects own memory, take more in their destructors, and free that of others. */
#include "check.h"

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

static std::mutex lock;
static std::vector<std::unique_ptr<std::string>> left_behind;
static size_t destroyed;

struct Cache {
    std::map<int, std::string> entries;
    std::vector<char> buffer;

    void use(int seed)
    {
        for (int i = 0; i < 200; i++)
            entries[i * seed % 97] += std::string(size_t(i % 50) + 1, char('a' + i % 26));
        buffer.resize(100000 + size_t(seed) * 10, char(seed));
    }

    ~Cache()
    {
        /* As a logger or a pool does when its thread ends. */
        std::string report;
        for (const auto &entry : entries)
            report += entry.second;
        CHECK(buffer.empty() || buffer.back() == buffer.front(), "a buffer changed");
        std::vector<std::string> copies(20, report);
        auto last_words = std::make_unique<std::string>(copies.back());
        std::lock_guard<std::mutex> guard(lock);
        destroyed++;
        left_behind.push_back(std::move(last_words));
        if (left_behind.size() > 50)
            left_behind.clear();
    }
};

thread_local Cache first;
thread_local std::vector<std::unique_ptr<Cache>> second;

static void live(int seed)
{
    second.push_back(std::make_unique<Cache>());
    second.back()->use(seed);
    first.use(seed + 1);
    second.push_back(std::make_unique<Cache>());
}

int main()
{
    size_t resident = 0;
    for (int round = 0; round < 500; round++) {
        std::vector<std::thread> threads;
        for (int i = 1; i <= 4; i++)
            threads.emplace_back(live, round % 20 + i);
        for (auto &thread : threads)
            thread.join();
        if (round == 100)
            resident = resident_kib();
    }
    CHECK(destroyed == 500 * 4 * 3, "%zu objects were destroyed", destroyed);
    CHECK(resident_kib() < resident + 8 * KIB, "resident grew from %zu to %zu KiB", resident,
          resident_kib());
    live(1);
    return 0;
}
