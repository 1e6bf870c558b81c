# A server, and a client that runs on the C library's malloc whatever the server runs on.
set -eu
dir=$(mktemp -d)
server=
trap 'kill $server 2>/dev/null || :; rm -rf "$dir"' EXIT
redis-server --port 0 --unixsocket "$dir/socket" --dir "$dir" --save '' --appendonly no --loglevel warning \
	--maxmemory 64mb --maxmemory-policy allkeys-lru &
server=$!
tries=0
until [ -S "$dir/socket" ]; do
	tries=$((tries + 1))
	[ $tries -lt 1000 ] || exit 9
	sleep 0.01
done
unset LD_PRELOAD
client="redis-benchmark -s $dir/socket -r 200000 -P 32 -q"
$client -t set -d 100 -n "$1"
$client -t set -d 700 -n "$1"
$client -t get,lpush,hset -n $(($1 / 2))
redis-cli -s "$dir/socket" shutdown nosave
wait $server
server=
