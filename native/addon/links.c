// SPDX-License-Identifier: Apache-2.0
// See reading.h. A dump of RTM_GETLINK (rtnetlink(7)); replies to an earlier question are passed over by
// their number.
#include "reading.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static bool ask(int socket, uint32_t number) {
    struct {
        struct nlmsghdr header;
        struct ifinfomsg body;
    } request = {.header = {.nlmsg_len = sizeof request,
                            .nlmsg_type = RTM_GETLINK,
                            .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
                            .nlmsg_seq = number}};
    return send(socket, &request, sizeof request, 0) == (ssize_t)sizeof request;
}

/** Appends one interface; what has no room is left out. */
static size_t append(struct nlmsghdr *message, char *text, size_t length, size_t room) {
    struct ifinfomsg *body = NLMSG_DATA(message);
    struct rtnl_link_stats64 s;
    const char *name = NULL;
    bool counted = false;
    int left = (int)IFLA_PAYLOAD(message);
    for (struct rtattr *at = IFLA_RTA(body); RTA_OK(at, left); at = RTA_NEXT(at, left)) {
        if (at->rta_type == IFLA_IFNAME) name = RTA_DATA(at);
        if (at->rta_type == IFLA_STATS64) {
            size_t size = RTA_PAYLOAD(at) < sizeof s ? RTA_PAYLOAD(at) : sizeof s;
            memset(&s, 0, sizeof s);
            memcpy(&s, RTA_DATA(at), size);
            counted = true;
        }
    }
    if (!name || !counted) return length;
    int n = snprintf(text + length, room - length, "%s %llu %llu %llu %llu %llu %llu %llu %llu\n", name,
                     s.rx_bytes, s.rx_packets, s.rx_errors, s.rx_dropped, s.tx_bytes, s.tx_packets,
                     s.tx_errors, s.tx_dropped);
    return n > 0 && (size_t)n < room - length ? length + (size_t)n : length;
}

ssize_t links_read(int socket, char *text, size_t room, char *buffer, size_t buffer_size) {
    static atomic_uint last;
    uint32_t number = atomic_fetch_add(&last, 1) + 1;
    size_t length = 0;
    if (!ask(socket, number)) return -errno;
    for (;;) {
        ssize_t got = recv(socket, buffer, buffer_size, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -errno;
        if (got == 0) return -EPIPE;
        int left = (int)got;
        for (struct nlmsghdr *m = (struct nlmsghdr *)buffer; NLMSG_OK(m, (unsigned)left);
             m = NLMSG_NEXT(m, left)) {
            if (m->nlmsg_seq != number) continue;
            if (m->nlmsg_type == NLMSG_DONE) return (ssize_t)length;
            if (m->nlmsg_type == NLMSG_ERROR) return ((struct nlmsgerr *)NLMSG_DATA(m))->error;
            if (m->nlmsg_type == RTM_NEWLINK) length = append(m, text, length, room);
        }
    }
}
