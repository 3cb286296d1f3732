/* The strong anchor of the poll benchmark: net-snmp's library in one process, a session and a socket for each printer, all
 * asked at once. Walks 1.3.6.1.2.1.43 by GETBULK of 50 repetitions, counts the bindings and keeps none of them.
 * Waits by select(2) through the library's own functions, as its documentation shows it, or with `epoll` as the fourth
 * argument by epoll(7) on its sockets, which is as good as it can be driven.
 * Usage: async_netsnmp FIRST_ADDRESS COUNT PORT [epoll]. Build: cc -O2 async_netsnmp.c -lnetsnmp. */
#include <net-snmp/net-snmp-config.h>
#include <net-snmp/net-snmp-includes.h>
#include <net-snmp/library/large_fd_set.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

static const oid ROOT[] = {1, 3, 6, 1, 2, 1, 43};
#define ROOT_LENGTH (sizeof ROOT / sizeof *ROOT)

struct printer {
    void *session;
    oid last[MAX_OID_LEN];
    size_t last_length;
    int is_done;
};

static int unfinished;
static long bindings, failed;

static int ask(struct printer *printer);

static void finish(struct printer *printer) {
    if (!printer->is_done) {
        printer->is_done = 1;
        unfinished--;
    }
}

static int heard(int operation, struct snmp_session *session, int id, struct snmp_pdu *pdu, void *magic) {
    struct printer *printer = magic;
    (void)session;
    (void)id;
    if (operation != NETSNMP_CALLBACK_OP_RECEIVED_MESSAGE || pdu->errstat != SNMP_ERR_NOERROR) {
        failed++;
        finish(printer);
        return 1;
    }
    for (struct variable_list *variable = pdu->variables; variable; variable = variable->next_variable) {
        if (variable->type == SNMP_ENDOFMIBVIEW || variable->name_length < ROOT_LENGTH ||
            snmp_oid_compare(variable->name, ROOT_LENGTH, ROOT, ROOT_LENGTH) != 0) {
            finish(printer);
            return 1;
        }
        bindings++;
        memcpy(printer->last, variable->name, variable->name_length * sizeof(oid));
        printer->last_length = variable->name_length;
    }
    if (!ask(printer)) {
        failed++;
        finish(printer);
    }
    return 1;
}

static int ask(struct printer *printer) {
    struct snmp_pdu *pdu = snmp_pdu_create(SNMP_MSG_GETBULK);
    pdu->non_repeaters = 0;
    pdu->max_repetitions = 50;
    snmp_add_null_var(pdu, printer->last, printer->last_length);
    if (snmp_sess_async_send(printer->session, pdu, heard, printer))
        return 1;
    snmp_free_pdu(pdu);
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: %s FIRST_ADDRESS COUNT PORT [epoll]\n", argv[0]);
        return 2;
    }
    struct in_addr first;
    int count = atoi(argv[2]);
    if (!inet_aton(argv[1], &first) || count < 1)
        return 2;
    struct rlimit files = {16384, 16384};
    setrlimit(RLIMIT_NOFILE, &files);
    netsnmp_ds_set_boolean(NETSNMP_DS_LIBRARY_ID, NETSNMP_DS_LIB_DONT_READ_CONFIGS, 1);
    netsnmp_ds_set_boolean(NETSNMP_DS_LIBRARY_ID, NETSNMP_DS_LIB_DONT_PERSIST_STATE, 1);
    init_snmp("bench");
    struct printer *printers = calloc(count, sizeof *printers);
    int poll = epoll_create1(0);
    for (int n = 0; n < count; n++) {
        struct in_addr address = {htonl(ntohl(first.s_addr) + n)};
        char peer[64];
        snprintf(peer, sizeof peer, "udp:%s:%s", inet_ntoa(address), argv[3]);
        struct snmp_session session;
        snmp_sess_init(&session);
        session.version = SNMP_VERSION_2c;
        session.peername = peer;
        session.community = (u_char *)"public";
        session.community_len = 6;
        session.timeout = 1000000;
        session.retries = 3;
        printers[n].session = snmp_sess_open(&session);
        if (!printers[n].session) {
            snmp_perror("snmp_sess_open");
            return 1;
        }
        memcpy(printers[n].last, ROOT, sizeof ROOT);
        printers[n].last_length = ROOT_LENGTH;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &printers[n]};
        epoll_ctl(poll, EPOLL_CTL_ADD, snmp_sess_transport(printers[n].session)->sock, &event);
        unfinished++;
        if (!ask(&printers[n])) {
            failed++;
            finish(&printers[n]);
        }
    }
    netsnmp_large_fd_set readable;
    netsnmp_large_fd_set_init(&readable, 16384);
    time_t looked = time(NULL), until = looked + 120;
    while (argc < 5 && unfinished > 0 && time(NULL) < until) {
        int files = 0, block = 0;
        struct timeval wait = {1, 0};
        NETSNMP_LARGE_FD_ZERO(&readable);
        for (int n = 0; n < count; n++)
            if (!printers[n].is_done)
                snmp_sess_select_info2(printers[n].session, &files, &readable, &wait, &block);
        int ready = netsnmp_large_fd_set_select(files, &readable, NULL, NULL, block ? NULL : &wait);
        for (int n = 0; n < count && ready >= 0; n++) {
            if (printers[n].is_done)
                continue;
            if (ready > 0)
                snmp_sess_read2(printers[n].session, &readable);
            else
                snmp_sess_timeout(printers[n].session);
        }
    }
    while (unfinished > 0 && time(NULL) < until) {
        struct epoll_event events[256];
        int ready = epoll_wait(poll, events, 256, 100);
        for (int n = 0; n < ready; n++) {
            struct printer *printer = events[n].data.ptr;
            int socket = snmp_sess_transport(printer->session)->sock;
            netsnmp_large_fd_setfd(socket, &readable);
            snmp_sess_read2(printer->session, &readable);
            netsnmp_large_fd_clr(socket, &readable);
        }
        if (time(NULL) != looked) {
            looked = time(NULL);
            for (int n = 0; n < count; n++)
                if (!printers[n].is_done)
                    snmp_sess_timeout(printers[n].session);
        }
    }
    printf("{\"varbinds\": %ld, \"failed\": %ld}\n", bindings, failed + unfinished);
    return 0;
}
