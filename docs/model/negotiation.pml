/* SPDX-License-Identifier: Apache-2.0
 *
 * The negotiation of one limit, by three members and the broker that one of them is, with two
 * crashes at any step: `make model` has spin look at every interleaving.
 *
 * Checked: the kernel's limits are never more than the limit in all (assertion); what they hold is
 * never more than what is charged, and what a crash leaves unused is free again (at rest, by the
 * property "settled"); a request is answered in the end (property "answered", weak fairness).
 *
 * What is left out is in the simulator (Tools/Simulate): amounts, shares, time, and connections
 * that overtake each other. A number of a frame is told as how
 * many were dealt with since the last time, which is the same and needs fewer states.
 */
#define N 3
#define LIMIT 3
#define CRASHES 2
#define QUEUE 1         /* frames under way, in each direction of each connection */
#define MOST 2          /* what one member may want */

mtype = { join, say, grant, recall };
mtype = { expected, joined, lost, orphan };

chan toBroker[N] = [QUEUE] of { mtype, byte, byte, byte, bit };  /* kind, held, wanted, ack, asks */
chan toMember[N] = [QUEUE] of { mtype, byte };                   /* kind, limit */

/* The kernel's, and the files': they outlive everybody. */
byte kernel[N];
byte sum;
bit dead[N];            /* a supervisor */
byte crashes;

/* The broker's, which are lost with it. */
bit up;
byte host;
byte charged[N];
mtype standing[N];
byte open[N];           /* frames to it that it was not heard of to have dealt with */
bit recalled[N];
byte wants[N];

/* A supervisor's, which are lost with it. */
byte allowance[N];
byte wanted[N];
byte heard[N];          /* frames it has dealt with since it last said something */
bit connected[N];
bit cut[N];             /* its broker is dead, which it sees when it has read everything */
bit asking[N];
bit mustSay[N];

#define total (charged[0] + charged[1] + charged[2])
#define recovered \
  (standing[0] != expected && standing[1] != expected && standing[2] != expected)
#define least(a, b) (a < b -> a : b)
#define isWritten(i) \
  ((kernel[i] == wanted[i] && wanted[i] <= allowance[i]) \
   || (kernel[i] == allowance[i] && allowance[i] <= wanted[i]))
#define isHeard(i) (connected[i] && up && !cut[i])

inline write() {
  target = least(wanted[i], allowance[i]);
  sum = sum - kernel[i] + target;
  kernel[i] = target;
  target = 0;
  assert(sum <= LIMIT)
}

/* Takes everything out of a channel: who would have read it is dead. */
inline drain(m) {
  do
  :: len(toMember[m]) > 0 -> toMember[m]?_, _
  :: else -> break
  od
}

inline drainBroker(m) {
  do
  :: len(toBroker[m]) > 0 -> toBroker[m]?_, _, _, _, _
  :: else -> break
  od
}

proctype Member(byte i) {
  mtype kind;
  byte limit, target;
end:
  do
  /* What came from the broker; after its death, what it had sent before. */
  :: atomic { !dead[i] && connected[i] && len(toMember[i]) > 0 ->
      toMember[i]?kind, limit;
      heard[i]++;
      if
      :: kind == grant ->
          allowance[i] = limit; asking[i] = 0;
          mustSay[i] = (mustSay[i] || limit > wanted[i])
      :: kind == recall -> allowance[i] = least(allowance[i], limit); mustSay[i] = 1
      fi;
      limit = 0; kind = 0 }
  /* One side of the crash, and the other. */
  :: atomic { !dead[i] && (kernel[i] < wanted[i] && kernel[i] < allowance[i]) ->
      write() }
#ifdef SAYS_FIRST
  :: atomic { !dead[i] && (kernel[i] > wanted[i] || kernel[i] > allowance[i]) && !mustSay[i] ->
#else
  :: atomic { !dead[i] && (kernel[i] > wanted[i] || kernel[i] > allowance[i]) ->
#endif
      write(); mustSay[i] = 1 }
  :: atomic { !dead[i] && isHeard(i) && mustSay[i] && !asking[i] &&
#ifndef SAYS_FIRST
      isWritten(i) &&
#endif
      len(toBroker[i]) < QUEUE ->
      allowance[i] = least(wanted[i], allowance[i]);
      asking[i] = (wanted[i] > allowance[i]);
      toBroker[i]!say, allowance[i], wanted[i], heard[i], asking[i];
      heard[i] = 0;
      mustSay[i] = 0 }
  /* A recall is answered whatever else is open. */
  :: atomic { !dead[i] && isHeard(i) && mustSay[i] && asking[i] &&
      isWritten(i) && len(toBroker[i]) < QUEUE ->
      allowance[i] = kernel[i];
      toBroker[i]!say, kernel[i], wanted[i], heard[i], 0;
      heard[i] = 0;
      mustSay[i] = 0 }
  /* The container wants something else: the first one's does, again and again. */
  :: atomic { i == 0 && !dead[i] && isHeard(i) && !mustSay[i] && !asking[i] &&
      len(toMember[i]) == 0 && isWritten(i) ->
      if
      :: wanted[i] = 1
      :: wanted[i] = MOST
      fi;
      mustSay[i] = 1 }
  /* The end of a connection is seen when everything was read that came by it. */
  :: atomic { !dead[i] && connected[i] && cut[i] &&
#ifndef DROPS_QUEUE
      len(toMember[i]) == 0 &&
#endif
      true ->
      connected[i] = 0; cut[i] = 0; asking[i] = 0; mustSay[i] = 0; heard[i] = 0;
      allowance[i] = kernel[i] }
  :: atomic { !dead[i] && !connected[i] && up && len(toBroker[i]) < QUEUE ->
      connected[i] = 1; heard[i] = 0; asking[i] = 1;
      toBroker[i]!join, kernel[i], wanted[i], 0, 1 }
  /* The lock has fallen free. */
  :: atomic { !dead[i] && !up && !connected[i] ->
      up = 1; host = i;
      standing[0] = expected; standing[1] = expected; standing[2] = expected;
      charged[0] = 0; charged[1] = 0; charged[2] = 0;
      recalled[0] = 0; recalled[1] = 0; recalled[2] = 0;
      open[0] = 0; open[1] = 0; open[2] = 0;
      wants[0] = 0; wants[1] = 0; wants[2] = 0 }
  /* A supervisor in the place of a dead one. A channel is one connection after the other here, so
   * what the dead one had said must have been read; the broker knows connections by numbers. */
  :: atomic { dead[i] && (!up || (standing[i] == orphan && len(toBroker[i]) == 0)) ->
      dead[i] = 0;
      allowance[i] = kernel[i]; wanted[i] = 1 + (i == 2) }
  od
}

/* Grants up to what is wanted of what is free, or says that there is no more: an answer it is. */
inline answer(i) {
#ifdef IGNORES_REGISTERED
  if
  :: wants[i] > charged[i] && !recalled[i] && total < LIMIT ->
#else
  if
  :: recovered && wants[i] > charged[i] && !recalled[i] && total < LIMIT ->
#endif
      charged[i] = least(wants[i], charged[i] + LIMIT - total)
  :: else
  fi;
  open[i]++;
  toMember[i]!grant, charged[i]
}

#define ends(m) (up && dead[m] && len(toBroker[m]) == 0)

inline lose(m) {
  standing[m] = lost;
#ifdef FREES_LOST
  charged[m] = 0;
#endif
  recalled[m] = 0
}

inline examine(m) {
  standing[m] = orphan; charged[m] = kernel[m]; wants[m] = 0
}

#define poor(m) (standing[m] == joined && wants[m] > 0 && charged[m] == 0)
#define rich(m) \
  (standing[m] == joined && !dead[m] && charged[m] > 1 && !recalled[m] && len(toMember[m]) < QUEUE)
#define waits(m) \
  (standing[m] == joined && !dead[m] && wants[m] > charged[m] && !recalled[m] && \
   len(toMember[m]) < QUEUE && len(toBroker[m]) == 0)
#define isFree (up && recovered && total < LIMIT)
#define isShort (up && recovered && total >= LIMIT && (poor(0) || poor(1) || poor(2)))
#define speaks(m) (up && len(toBroker[m]) > 0 && len(toMember[m]) < QUEUE)

/* From a member that lives, or that did: what it said is true. */
inline hear(m) {
  toBroker[m]?kind, held, want, ack, asks;
  if
  :: kind == join ->
      standing[m] = joined; charged[m] = held; open[m] = 0; recalled[m] = 0
  :: kind == say ->
      open[m] = open[m] - ack;
      if
      /* The last grant was known to who says that it holds less. */
#ifdef IGNORES_ACK
      :: true -> charged[m] = held; recalled[m] = 0
#else
      :: open[m] == 0 -> charged[m] = held; recalled[m] = 0
      :: else
#endif
      fi
  fi;
  wants[m] = want;
  if
  :: asks && !dead[m] -> answer(m)
  :: else
  fi;
  kind = 0; held = 0; want = 0; ack = 0; asks = 0
}

inline take(m) {
  recalled[m] = 1;
  open[m]++;
  toMember[m]!recall, 1
}

/* What the broker does for one member: an instance each, for it serves all of them in turn. */
proctype Broker(byte m) {
  mtype kind;
  byte held, want, ack;
  bit asks;
end:
  do
  :: atomic { speaks(m) -> hear(m) }
  /* What has become free goes to who waits for it. */
  :: atomic { isFree && waits(m) -> answer(m) }
  /* Somebody below the fair share of 1 waits: who has more gives back what is above it. */
  :: atomic { isShort && rich(m) -> take(m) }
  /* The end of a connection, which frees nothing; then the kernel is asked. */
  :: atomic { ends(m) && standing[m] == joined -> lose(m) }
  :: atomic { ends(m) && (standing[m] == lost || standing[m] == expected) -> examine(m) }
  od
}

inline die(m) {
  crashes++;
  dead[m] = 1; connected[m] = 0; cut[m] = 0; heard[m] = 0;
  asking[m] = 0; mustSay[m] = 0; allowance[m] = 0;
  drain(m);
  if
  :: up && host == m ->
      up = 0;
      cut[0] = connected[0]; cut[1] = connected[1]; cut[2] = connected[2];
      drainBroker(0); drainBroker(1); drainBroker(2)
  :: else
  fi
}

proctype Death() {
end:
  do
  :: atomic { crashes < CRASHES && !dead[0] -> die(0) }
  :: atomic { crashes < CRASHES && !dead[1] -> die(1) }
  :: atomic { crashes < CRASHES && !dead[2] -> die(2) }
  od
}

init {
  atomic {
    standing[0] = expected; standing[1] = expected; standing[2] = expected;
    wanted[0] = 1; wanted[1] = 1; wanted[2] = MOST;
    run Member(0); run Member(1); run Member(2); run Broker(0); run Broker(1); run Broker(2);
    run Death()
  }
}

/* Invariant 2, where nothing is under way: what nobody holds is free. */
#define quiet \
  (up && recovered && len(toBroker[0]) + len(toBroker[1]) + len(toBroker[2]) == 0 \
   && len(toMember[0]) + len(toMember[1]) + len(toMember[2]) == 0)
#define idle(i) (!dead[i] && connected[i] && standing[i] == joined && !mustSay[i] \
   && isWritten(i))
ltl settled {
  [] ((quiet && idle(0) && idle(1) && idle(2)) ->
      (charged[0] == kernel[0] && charged[1] == kernel[1] && charged[2] == kernel[2]))
}
ltl answered { [] (asking[0] -> <> !asking[0]) }
