import glob,time,cProfile,pstats,sys
fs=sorted(glob.glob("/tmp/SPEED/b10/study/fastq/*.gz")); pairs=list(zip(fs[::2],fs[1::2]))
from carseq.library.detect import detect_chemistry
t=time.process_time(); 
p=cProfile.Profile(); p.enable()
detect_chemistry(pairs,[],n=20000)
p.disable(); print(time.process_time()-t)
pstats.Stats(p).sort_stats("cumtime").print_stats(28)
