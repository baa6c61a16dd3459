#!/usr/bin/env bash
# services.sh COMMAND...: runs a command with a PostgreSQL and a RabbitMQ that its tests may use, and stops afterwards
# what it started itself.
#
# The tests find both by TEST_POSTGRES_URL and TEST_AMQP_URL, by default at their usual ports of this
# machine. What answers there is used as it is. Otherwise, on this machine, one is started at that port: from installed
# programs, on files of its own; else from Debian packages, for root where `apt-get` works; else with Docker.

set -euo pipefail

export TEST_POSTGRES_URL="${TEST_POSTGRES_URL:-postgres://postgres@127.0.0.1:5432/postgres}"
export TEST_AMQP_URL="${TEST_AMQP_URL:-amqp://guest:guest@127.0.0.1:5672/%2f}"

# For trying one way out: what it names is left out (any of `installed packages docker`).
WITHOUT=" ${TEST_SERVICES_WITHOUT:-} "

FOLDER=""
STARTED=()     # Processes, by number.
CONTAINERS=()

say() { echo "services: $*" >&2; }
allowed() { [[ "$WITHOUT" != *" $1 "* ]]; }

clean_up() {
	local id
	for id in "${STARTED[@]}"; do kill -TERM "$id" 2>/dev/null || true; done
	for id in "${STARTED[@]}"; do
		for _ in $(seq 100); do kill -0 "$id" 2>/dev/null || break; sleep 0.1; done
		kill -KILL "$id" 2>/dev/null || true
	done
	for id in "${CONTAINERS[@]}"; do docker rm --force --volumes "$id" >/dev/null 2>&1 || true; done
	if [ -n "$FOLDER" ]; then rm -rf "$FOLDER"; fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Prints one part of a URL: user, host or port.
part() {
	local rest="${1#*://}" user="" address
	rest="${rest%%[/?]*}"
	case "$rest" in *@*) user="${rest%@*}"; address="${rest##*@}" ;; *) address="$rest" ;; esac
	case "$2" in
		user) echo "${user%%:*}" ;;
		host) case "$address" in \[*) address="${address#\[}"; echo "${address%%]*}" ;; *) echo "${address%%:*}" ;; esac ;;
		port) case "$address" in *:*[!0-9]* | *\]) echo "$3" ;; *:*) echo "${address##*:}" ;; *) echo "$3" ;; esac ;;
	esac
}

is_here() { case "$1" in 127.* | localhost | ::1) ;; *) return 1 ;; esac; }

# What answers a first greeting with the byte that its kind answers; a port that is merely open does not count.
answers() {
	local greeting="$1" expected="$2" host="$3" port="$4" said
	said="$(timeout 3 bash -c '
		exec 3<>"/dev/tcp/$1/$2" && printf "$3" >&3 && head -c 1 <&3 | od -An -tx1' _ "$host" "$port" "$greeting" 2>/dev/null |
		tr -d ' \n')" || true
	[[ -n "$said" && "$expected" == *" $said "* ]]
}
is_open() { timeout 3 bash -c 'exec 3<>"/dev/tcp/$1/$2"' _ "$1" "$2" 2>/dev/null; }
# A request for TLS, which is answered with S or N.
postgres_answers() { answers '\0\0\0\010\004\322\026\057' ' 53 4e ' "$1" "$2"; }
# The header of the protocol, which is answered with a frame of type 1.
rabbitmq_answers() { answers 'AMQP\0\0\011\001' ' 01 ' "$1" "$2"; }

# Waits for a service to answer; fails when its process has ended, or after a while.
wait_for() {
	local probe="$1" host="$2" port="$3" process="${4:-}"
	for _ in $(seq 240); do
		if "$probe" "$host" "$port"; then return 0; fi
		if [ -n "$process" ] && ! kill -0 "$process" 2>/dev/null; then return 1; fi
		sleep 0.5
	done
	return 1
}

folder() {
	if [ -z "$FOLDER" ]; then FOLDER="$(mktemp -d)"; chmod 711 "$FOLDER"; fi
}

# Becomes a command, run as somebody who is not root, which PostgreSQL refuses to be. Only for a shell of its own.
unprivileged() {
	cd /
	if [ "$(id -u)" != 0 ]; then exec "$@"; fi
	local user=nobody
	if id postgres >/dev/null 2>&1; then user=postgres; fi
	exec setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups -- "$@"
}

postgres_programs() {
	local initdb
	initdb="$(command -v initdb || ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -1)"
	[ -n "$initdb" ] && dirname "$(readlink -f "$initdb")"
}

postgres_installed() {
	local host="$1" port="$2" user="$3" programs data
	programs="$(postgres_programs)" || return 1
	folder
	data="$FOLDER/postgres"
	mkdir -m 700 "$data"
	if [ "$(id -u)" = 0 ]; then
		if id postgres >/dev/null 2>&1; then chown postgres: "$data"; else chown nobody: "$data"; fi
	fi
	say "starting PostgreSQL from $programs at port $port"
	(unprivileged "$programs/initdb" --pgdata "$data/files" --username "$user" --auth trust --encoding UTF8 \
		--locale C >"$FOLDER/postgres.log" 2>&1) || { cat "$FOLDER/postgres.log" >&2; return 1; }
	(unprivileged "$programs/postgres" -D "$data/files" -c listen_addresses="$host" -c port="$port" \
		-c unix_socket_directories="$data" -c max_connections=200 >>"$FOLDER/postgres.log" 2>&1) &
	STARTED+=("$!")
	wait_for postgres_answers "$host" "$port" "$!" || { cat "$FOLDER/postgres.log" >&2; return 1; }
}

rabbitmq_programs() {
	command -v epmd >/dev/null || return 1
	# Debian's wrapper insists on its own user; what it wraps does not.
	local own="/usr/lib/rabbitmq/bin/rabbitmq-server"
	if [ -x "$own" ]; then echo "$own"; else command -v rabbitmq-server; fi
}

rabbitmq_installed() {
	local host="$1" port="$2" program files names
	program="$(rabbitmq_programs)" || return 1
	folder
	files="$FOLDER/rabbitmq"
	mkdir "$files"
	touch "$files/rabbitmq.conf" "$files/rabbitmq-env.conf"
	echo '[].' >"$files/enabled_plugins"
	say "starting RabbitMQ from $program at port $port"
	names=$((port + 20001))
	epmd -port "$names" -address 127.0.0.1 >/dev/null 2>&1 &
	local directory="$!"
	env HOME="$files" ERL_CRASH_DUMP="$files/erl_crash.dump" RABBITMQ_CONF_ENV_FILE="$files/rabbitmq-env.conf" RABBITMQ_CONFIG_FILE="$files/rabbitmq.conf" \
		RABBITMQ_ENABLED_PLUGINS_FILE="$files/enabled_plugins" RABBITMQ_MNESIA_BASE="$files/mnesia" \
		RABBITMQ_LOG_BASE="$files/log" RABBITMQ_PID_FILE="$files/pid" RABBITMQ_NODENAME="switchyard$port@localhost" \
		RABBITMQ_NODE_IP_ADDRESS="$host" RABBITMQ_NODE_PORT="$port" RABBITMQ_DIST_PORT="$((port + 20000))" \
		ERL_EPMD_PORT="$names" ERL_EPMD_ADDRESS=127.0.0.1 RABBITMQ_ALLOW_INPUT=1 \
		RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-noinput" "$program" </dev/null >"$FOLDER/rabbitmq.log" 2>&1 &
	STARTED+=("$!" "$directory")
	wait_for rabbitmq_answers "$host" "$port" "$!" || { cat "$FOLDER/rabbitmq.log" >&2; return 1; }
}

# Installs a Debian package without letting it start a service of its own.
package() {
	[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
	say "installing the Debian package $1"
	local policy=/usr/sbin/policy-rc.d made=""
	if [ ! -e "$policy" ]; then printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod 755 "$policy"; made=1; fi
	local done=0
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1"; } >&2 || done=1
	if [ -n "$made" ]; then rm -f "$policy"; fi
	return "$done"
}

# Starts an image whose port is bound to ours on this machine alone.
container() {
	local image="$1" inside="$2" port="$3" id
	shift 3
	command -v docker >/dev/null && docker info >/dev/null 2>&1 || return 1
	say "starting $image with Docker at port $port"
	id="$(docker run --detach --publish "127.0.0.1:$port:$inside" "$@" "$image")" || return 1
	CONTAINERS+=("$id")
}

# Makes sure that one service is there.
need() {
	local name="$1" variable="$2" probe="$3" usual="$4" kind="$5" image="$6" inside="$7" debian="$8"
	shift 8
	local url="${!variable}" host port user
	host="$(part "$url" host)"
	port="$(part "$url" port "$usual")"
	user="$(part "$url" user)"
	if "$probe" "$host" "$port"; then
		say "using the $name that answers at $host:$port"
		return 0
	fi
	if is_here "$host"; then
		if [ "$host" = localhost ]; then host=127.0.0.1; fi
		if is_open "$host" "$port"; then
			say "what listens at $host:$port is no $name; stop it, or set $variable to another port"
			return 1
		fi
		if ! { allowed installed && "${kind}_programs" >/dev/null; } && allowed packages; then package "$debian" || true; fi
		if allowed installed && "${kind}_programs" >/dev/null; then
			if "${kind}_installed" "$host" "$port" "${user:-postgres}"; then return 0; fi
			say "the installed $name did not start; what it said is above"
			return 1
		fi
		if allowed docker && container "$image" "$inside" "$port" "$@" && wait_for "$probe" "$host" "$port"; then return 0; fi
	fi
	say "no $name answers at $host:$port, and none could be started there. Any of these helps:"
	say "  - start one, and set $variable to its URL"
	say "  - install it: \`apt-get install $debian\`, or your system's own package"
	say "  - start Docker"
	return 1
}

if [ $# -eq 0 ]; then sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 2; fi

need PostgreSQL TEST_POSTGRES_URL postgres_answers 5432 postgres postgres:15 5432 postgresql \
	--env POSTGRES_HOST_AUTH_METHOD=trust
need RabbitMQ TEST_AMQP_URL rabbitmq_answers 5672 rabbitmq rabbitmq:3 5672 rabbitmq-server

"$@"
