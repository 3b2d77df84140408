/* go-dqlite 2 calls this one, which libdqlite dropped with its disk mode. microcluster never switches that on. No header
   is included here: Go's own C files choose first what theirs declare. */
#ifndef __ASSEMBLER__
struct dqlite_node;
static inline int dqlite_node_enable_disk_mode(struct dqlite_node *node)
{
	(void)node;
	return 1;
}
#endif
